"""Whether the heatmap points at the defect, and what it costs: on drawn castings, where the truth is known.

    python bench/heatmap.py [--parts N] [--seed N] [--model BUNDLE]

Of the drawn defective parts that the bundle rejects, the share whose heatmap has its peak in the defect: the peak's
cell and the defect have at least a pixel in common. Then the time of an inference, and of what is read from it: a model
whose map adds up to the classes gives nothing else, so its heatmap costs the inference nothing.
"""

import argparse
import os
import platform
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from edge_qc.bundle import SHIPPED, Bundle, load_bundle
from edge_qc.capture.simulated_part import DEFECTS, DrawnPart, draw_part
from edge_qc.classify.litert import LiteRtClassifier
from edge_qc.domain import FloatArray, Frame
from edge_qc.unwrap import find_opening, unwrap

WANTED_SHARE = 0.95


@dataclass
class Kind:
    """What became of the drawn parts with one kind of defect."""

    drawn: int = 0
    rejected: int = 0
    pointed_at: int = 0


def points_at(part: DrawnPart, heatmap: FloatArray) -> bool:
    """Whether the cell of the heatmap's peak holds a pixel of the defect."""
    row, column = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    cell_rows, cell_columns = (side / cells for side, cells in zip(part.pixels.shape, heatmap.shape, strict=True))
    top, left = int(row * cell_rows), int(column * cell_columns)
    bottom, right = int(np.ceil((row + 1) * cell_rows)), int(np.ceil((column + 1) * cell_columns))
    return part.mask is not None and bool(part.mask[top:bottom, left:right].any())


def cost_of_map(bundle: Bundle, frame: Frame, rounds: int) -> tuple[float, float, float]:
    """Median milliseconds of the inference, of reading the classes from it, and of drawing the map over the picture.

    The map is drawn when a picture is kept or shown, after the verdict has left.
    """
    classifier = LiteRtClassifier(bundle)
    sheet, opening = classifier.prepare(frame)
    taken = np.zeros((rounds, 3))
    for row in taken:
        stamps = [time.perf_counter()]
        classifier.invoke(sheet)
        stamps.append(time.perf_counter())
        prediction = classifier.read(opening)
        stamps.append(time.perf_counter())
        _ = prediction.heatmap
        stamps.append(time.perf_counter())
        row[:] = np.diff(stamps) * 1e3
    return tuple(np.median(taken, axis=0).tolist())


def stages(part: DrawnPart, rounds: int) -> tuple[float, float]:
    """Median milliseconds of finding the opening, and of unwrapping."""
    finding, unwrapping = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        opening = find_opening(part.pixels)
        finding.append(time.perf_counter() - began)
        if opening is not None:
            began = time.perf_counter()
            unwrap(part.pixels, opening)
            unwrapping.append(time.perf_counter() - began)
    return float(np.median(finding)) * 1e3, float(np.median(unwrapping or [0.0])) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=400)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    bundle = load_bundle(options.model)
    classifier = LiteRtClassifier(bundle)
    defective = [place for place, label in enumerate(bundle.card.labels) if label not in bundle.card.ok_labels]
    rng, kinds = np.random.default_rng(options.seed), {kind: Kind() for kind in DEFECTS}
    part = draw_part(rng, defective=True)
    frame = _frame(part)
    for _ in range(options.parts):
        part = draw_part(rng, defective=True)
        frame = _frame(part)
        prediction = classifier.classify(frame)
        kind = kinds[part.defect or "blow_hole"]
        kind.drawn += 1
        if prediction.probabilities[defective].sum() >= bundle.card.thresholds.reject_from:
            kind.rejected += 1
            kind.pointed_at += prediction.heatmap is not None and points_at(part, prediction.heatmap)
    share = show(kinds, bundle.card.id)
    inference_ms, reading_ms, drawing_ms = cost_of_map(bundle, frame, 500)
    finding_ms, unwrapping_ms = stages(part, 300)
    machine = platform.processor() or platform.machine()
    print(
        f"{machine}, load {os.getloadavg()[0]:.1f}, {datetime.now(UTC):%Y-%m-%d}: finding the opening "
        f"{finding_ms:.2f} ms, unwrapping {unwrapping_ms:.2f}, the inference {inference_ms:.2f}, reading the classes "
        f"from it {reading_ms:.3f}; drawing the map of a picture that is kept, after its verdict, {drawing_ms:.3f}"
    )
    sys.exit(0 if share >= WANTED_SHARE else 1)


def _frame(part: DrawnPart) -> Frame:
    return Frame(part.pixels, 1, time.monotonic_ns(), datetime.now(UTC), "drawn")


def show(kinds: dict[str, Kind], model: str) -> float:
    """Prints the table; the share of all rejects whose peak lies in the defect."""
    table = Table(title=f"{model}: drawn defects, and where the heatmap has its peak")
    for column in ("defect", "drawn", "rejected", "peak in the defect", "share"):
        table.add_column(column, justify="left" if column == "defect" else "right")
    total = Kind(*(sum(getattr(kind, name) for kind in kinds.values()) for name in ("drawn", "rejected", "pointed_at")))
    for name, kind in [*kinds.items(), ("all", total)]:
        share = kind.pointed_at / max(1, kind.rejected)
        table.add_row(name, str(kind.drawn), str(kind.rejected), str(kind.pointed_at), f"{share:.1%}")
    Console().print(table)
    return total.pointed_at / max(1, total.rejected)


if __name__ == "__main__":
    main()
