"""Labelled pictures drawn by the simulated line."""

from pathlib import Path

import cv2
import numpy as np

from edge_qc.capture.simulated import draw_part


def draw_pictures(
    out: Path, parts: int, seed: int, defect_rate: float, ok_label: str, defect_label: str
) -> tuple[int, int]:
    """Draws parts into ``out/<label>/<seed>-<number>.png``.

    Args:
        out: folder; what it holds already stays.
        parts: how many, from 1.
        seed: of everything drawn.
        defect_rate: share of defective parts, 0 to 1.
        ok_label: folder of the good ones.
        defect_label: folder of the defective ones.

    Returns:
        How many are good, and how many defective.
    """
    rng = np.random.default_rng(seed)
    counts = {False: 0, True: 0}
    for number in range(parts):
        part = draw_part(rng, bool(rng.random() < defect_rate))
        folder = out / (defect_label if part.defective else ok_label)
        folder.mkdir(parents=True, exist_ok=True)
        encoded = cv2.imencode(".png", part.pixels)[1]
        (folder / f"{seed}-{number:06d}.png").write_bytes(encoded.tobytes())
        counts[part.defective] += 1
    return counts[False], counts[True]
