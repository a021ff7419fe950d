"""Planted copies: how many of them the audit finds, how many pairs it finds that are none, and how fast it is.

    python bench/audit.py [FOLDER ...]

FOLDER holds a folder for each class, of real pictures: one picture of each part that the audit tells apart is taken.
Without one, 300 parts are drawn by `edge-qc-train simulate`. Of these originals 300 copies are made, each turned by any
angle, mirrored or not, shifted by up to 6 % of the side and lit anew (gamma 0.6 to 1.6, gain 0.7 to 1.3, offset up to
40 grey levels, and a lamp from one side that makes up to 30 % of difference), and the audit runs on both together.
Where the new light drives more than 5 % of the pixels to black or white, other light is drawn: what a camera has not
seen nobody finds. The row "any light" leaves that out.

A pair is found where the audit puts original and copy into one group. A false pair is two different parts in a group;
its share is of all pairs found.
"""

import os
import platform
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_qc.domain import Pixels
from edge_qc.picture import read_picture
from edge_qc_trainer.audit import Audit, audit
from edge_qc_trainer.simulate import draw_pictures

PARTS, COPIES, SEED = 300, 300, 5
MOST_CLIPPED = 0.05


def take_originals(folder: Path, out: Path) -> tuple[int, Audit]:
    """One picture of each part in the folder, written to ``out``; how many, and the audit that told them apart."""
    found = audit(folder)
    for number, pictures in enumerate(found.evidence.by_group()):
        write(out / pictures[0].file.label / f"{number:04d}.png", read_picture(pictures[0].file.path))
    return number + 1, found


def draw_originals(out: Path) -> None:
    """Drawn parts, every one another."""
    draw_pictures(out / "drawn", PARTS, SEED, 0.5, "ok", "defect")
    for number, path in enumerate(sorted((out / "drawn").glob("*/*"))):
        (out / path.parent.name).mkdir(exist_ok=True)
        path.rename(out / path.parent.name / f"{number:04d}.png")
    for folder in (*(out / "drawn").iterdir(), out / "drawn"):
        folder.rmdir()


def plant(folder: Path, most_clipped: float) -> None:
    """Adds the copies of the originals, named so that a copy tells its original."""
    originals = sorted(folder.glob("*/????.png"))
    rng = np.random.default_rng(SEED)
    for number in range(COPIES):
        original = originals[number % len(originals)]
        moved = move(read_picture(original), rng)
        write(original.with_name(f"{original.stem}-copy-{number}.png"), light(moved, rng, most_clipped))


def move(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Turned, mirrored or not, and shifted."""
    height, width = pixels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rng.uniform(0, 360), 1.0)
    matrix[:, 2] += rng.uniform(-0.06, 0.06, 2) * (width, height)
    seen = np.ascontiguousarray(pixels[:, ::-1]) if rng.random() < 0.5 else pixels
    return np.asarray(cv2.warpAffine(seen, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def light(pixels: Pixels, rng: np.random.Generator, most_clipped: float) -> Pixels:
    """In other light: gamma, gain, offset and a lamp from one side, all at once."""
    already = clipped(pixels)
    axis = np.linspace(-0.5, 0.5, max(pixels.shape))
    while True:
        lit = (pixels / 255) ** rng.uniform(0.6, 1.6) * 255
        lit = (lit - 128) * rng.uniform(0.7, 1.3) + 128 + rng.uniform(-40, 40)
        side, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
        ramp = axis[None, : pixels.shape[1]] * np.cos(side) + axis[: pixels.shape[0], None] * np.sin(side)
        new = np.clip(np.rint(lit * (1 + strength * ramp)), 0, 255).astype(np.uint8)
        if clipped(new) - already <= most_clipped:
            return new


def clipped(pixels: Pixels) -> float:
    """Share of pixels that are black or white."""
    return float(((pixels == 0) | (pixels == 255)).mean())


def write(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def count_pairs(found: Audit) -> tuple[int, int, int]:
    """Planted pairs found, pairs of different parts found, and all pairs found."""
    names = [picture.file.path.stem for picture in found.evidence.pictures]
    parts = np.array([int(name[:4]) for name in names])
    places = {name: place for place, name in enumerate(names)}
    groups = found.evidence.groups
    planted = sum(groups[places[name]] == groups[places[name[:4]]] for name in names if "-copy-" in name)
    together = _same(groups)
    false = together & ~_same(parts)
    return int(planted), int(np.triu(false, 1).sum()), int(np.triu(together, 1).sum())


def _same(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    return np.asarray(numbers[:, None] == numbers[None, :])


def measure(name: str, folder: Path, most_clipped: float) -> None:
    """Plants, audits and prints a row."""
    originals = len(list(folder.glob("*/????.png")))
    plant(folder, most_clipped)
    found = audit(folder)
    planted, false, together = count_pairs(found)
    share = 100 * false / max(1, together)
    print(
        f"{name:36} {originals:9} {planted:4} of {COPIES} = {100 * planted / COPIES:5.1f} %  {false:5} = {share:4.2f} %"
    )
    for copy in folder.glob("*/*-copy-*.png"):
        copy.unlink()


def main() -> None:
    """Prints the table."""
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':36} {'originals':>9} {'planted pairs found':20} {'false pairs':>14}")
    with tempfile.TemporaryDirectory() as name:
        draw_originals(Path(name))
        measure("drawn", Path(name), MOST_CLIPPED)
        measure("drawn, any light", Path(name), 1)
    for data in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as name:
            began_s, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
            parts, whole = take_originals(data, Path(name))
            took_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_SELF)
            measure(data.name, Path(name), MOST_CLIPPED)
            measure(f"{data.name}, any light", Path(name), 1)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        pictures = len(whole.evidence.pictures)
        print(f"{data.name}: {pictures} pictures of {parts} parts audited in {took_s:.0f} s, {cpu_s:.0f} s of CPU time")


if __name__ == "__main__":
    main()
