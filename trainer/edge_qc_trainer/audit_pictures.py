"""What the audit measures on each picture, all of it in one reading of the file."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_qc.domain import FloatArray, Pixels
from edge_qc.errors import PictureError
from edge_qc.picture import decode, read_file
from edge_qc.preprocess import resize
from edge_qc_trainer.dataset import LabelledFile, find_files, train_and_test
from edge_qc_trainer.groups import unwrap
from edge_qc_trainer.statistics import refusal

_SIDE = 300
SMALL = 64
# First bytes of JPEG, PNG, BMP, TIFF, WebP and the portable maps: a file that has them was a picture once.
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"P2", b"P3", b"P5", b"P6")


@dataclass(frozen=True, slots=True)
class PictureSet:
    """A folder that is looked at.

    Attributes:
        name: what it is called in the findings.
        path: the folder that holds the class folders.
        files: what lies in them.
        audited: whether it is part of DATA; False for what DATA is held against.
    """

    name: str
    path: Path
    files: tuple[LabelledFile, ...]
    audited: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that is no whole picture.

    Attributes:
        file: the file.
        kind: ``empty``, ``truncated or corrupt``, ``no picture``, or ``not readable``.
        reason: the whole of it.
    """

    file: LabelledFile
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What was measured on a picture.

    Attributes:
        file: the file.
        size_bytes: of the file.
        shape: height and width, pixels.
        file_hash: SHA-256 of the file.
        pixel_hash: SHA-256 of shape and pixels: equal for files that differ only in what is written beside them.
        brightness: mean, grey levels.
        contrast: standard deviation, grey levels.
        unfit: why the device would refuse to judge it, in words; empty if it would not.
        small: shape (64, 64), uint8, letterboxed.
        ring: see ``groups.unwrap``.
    """

    file: LabelledFile
    size_bytes: int
    shape: tuple[int, int]
    file_hash: str
    pixel_hash: str
    brightness: float
    contrast: float
    unfit: str
    small: Pixels
    ring: FloatArray


def find_sets(data: Path, against: Path | None) -> tuple[PictureSet, ...]:
    """The sets to look at: DATA, or its ``train/`` and ``test/``, and those that it is held against.

    Raises:
        DataError: if a folder has no class folders, or one of them is empty.
    """
    named = _named(data, "", audited=True)
    if against:
        taken = {name for name, _, _ in named}
        others = _named(against, f"{against.name}/", audited=False)
        named += [(str(path) if name in taken else name, path, audited) for name, path, audited in others]
    return tuple(
        PictureSet(name, path, tuple(find_files(path, source)), audited)
        for source, (name, path, audited) in enumerate(named)
    )


def _named(folder: Path, prefix: str, *, audited: bool) -> list[tuple[str, Path, bool]]:
    train, test = train_and_test(folder)
    if test is None:
        return [(folder.name or str(folder), folder, audited)]
    return [(f"{prefix}train", train, audited), (f"{prefix}test", test, audited)]


def look_at(
    files: Sequence[LabelledFile], advance: Callable[[], object] = lambda: None
) -> tuple[list[Picture], list[Broken]]:
    """Reads and measures files, on all cores.

    Args:
        files: the files.
        advance: called after each.
    """
    pictures: list[Picture] = []
    broken: list[Broken] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(_look, files):
            if isinstance(found, Picture):
                pictures.append(found)
            else:
                broken.append(found)
            advance()
    return pictures, broken


def _look(file: LabelledFile) -> Picture | Broken:
    try:
        data = read_file(file.path)
    except PictureError as error:
        return Broken(file, "empty" if file.path.stat().st_size == 0 else "not readable", str(error))
    except OSError as error:
        return Broken(file, "not readable", str(error))
    try:
        pixels = decode(data, file.path.name)
    except PictureError as error:
        return Broken(file, "truncated or corrupt" if data.startswith(_MAGIC) else "no picture", str(error))
    mean, deviation = cv2.meanStdDev(pixels)
    square = resize(pixels, _SIDE, _SIDE, "letterbox")
    height, width = pixels.shape
    fault = refusal(square)
    return Picture(
        file,
        size_bytes=len(data),
        shape=(height, width),
        file_hash=hashlib.sha256(data).hexdigest(),
        pixel_hash=hashlib.sha256(f"{height} {width} ".encode() + pixels.tobytes()).hexdigest(),
        brightness=float(mean[0, 0]),
        contrast=float(deviation[0, 0]),
        unfit=f"{fault.reason}: {fault.detail}" if fault else "",
        small=np.asarray(cv2.resize(square, (SMALL, SMALL), interpolation=cv2.INTER_AREA), np.uint8),
        ring=unwrap(square),
    )
