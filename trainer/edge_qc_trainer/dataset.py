"""Labelled pictures: a folder for each class, or ``train/`` and ``test/`` that hold such folders."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_qc.align import Align
from edge_qc.domain import Pixels, printable
from edge_qc.errors import PictureError
from edge_qc.picture import read_picture
from edge_qc.preprocess import Fit, Fitting, Normalisation
from edge_qc.region import Region
from edge_qc.unwrap import Opening, find_opening, unwrap
from edge_qc_trainer.errors import DataError

IntArray = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
GOOD_PREFIXES = ("ok", "good", "pass")
Unwrapping = Literal["auto", "ring", "none"]
_MOST_HAVE_OPENINGS = 0.99
_NO_OPENING = "no dark round opening near its middle to unwrap the part around"
_FIRST_PRINTABLE = 32  # signs before it control a terminal
_LAYOUT = "a folder for each class with its pictures, such as DATA/ok/*.png and DATA/defect/*.png"


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A picture file.

    Attributes:
        path: the file.
        label: the name of its class folder.
        source: which DATA it came with, from 0.
    """

    path: Path
    label: str
    source: int = 0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file in a class folder that is not a whole picture, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Pictures in memory, at the network's size.

    Attributes:
        files: where each picture came from.
        pixels: shape (pictures, size, size), uint8.
        labels: the classes, sorted.
        targets: shape (pictures,), int64: place of each picture's class in ``labels``.
        hashes: SHA-256 of each file.
        unreadable: the files that were skipped.
        openings: of the parts, where the network sees their unwrapped rings; else none.
    """

    files: tuple[LabelledFile, ...]
    pixels: Pixels
    labels: tuple[str, ...]
    targets: IntArray
    hashes: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    openings: tuple[Opening, ...] = ()

    def seen(self, places: IntArray) -> Pixels:
        """What the network sees of some pictures, as on the device: shape (places, size, size), uint8."""
        if not self.openings:
            return self.pixels[places]
        return np.stack([unwrap(self.pixels[place], self.openings[place]) for place in places])

    @property
    def normalisation(self) -> Normalisation:
        """How the network's input is made of that."""
        return normalisation_of(self.openings)

    def good(self, ok_labels: Sequence[str]) -> Flags:
        """Shape (classes,): which classes are good, by those given, else by their names: see ``choose_ok_labels``."""
        chosen = choose_ok_labels(self.labels, ok_labels)
        return np.array([label in chosen for label in self.labels])

    @property
    def sources(self) -> IntArray:
        """Shape (pictures,), int64: which DATA each picture came with."""
        return np.array([file.source for file in self.files], np.int64)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the sorted hashes of the files: the same pictures give the same one, wherever they lie."""
        return fingerprint_of(self.hashes)


def fingerprint_of(hashes: Iterable[str]) -> str:
    """SHA-256 over the sorted hashes of files: the same pictures give the same one, wherever they lie."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def normalisation_of(openings: Sequence[Opening]) -> Normalisation:
    """Unwrapped rings, which have openings, are counted from the mean of each circle; other pictures from their own."""
    return "standardise-circles" if openings else "standardise"


def train_and_test(folder: Path) -> tuple[Path, Path | None]:
    """The folder to train on and, where ``folder`` holds ``train/`` and ``test/``, the one to measure on."""
    train, test = folder / "train", folder / "test"
    return (train, test) if train.is_dir() and test.is_dir() else (folder, None)


def find_files(folder: Path, source: int = 0) -> list[LabelledFile]:
    """The files of every class folder, sorted. Hidden files and folders are passed over.

    Raises:
        DataError: if there is no class folder, or one of them is empty.
    """
    if not folder.is_dir():
        raise DataError(f"no data at {folder}", expected=_LAYOUT, got="no folder", remedy="Check the path")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataError(
            f"{folder} has no class folders",
            expected=_LAYOUT,
            got="no folders in it",
            remedy="Put the pictures into a folder for each class",
        )
    files: list[LabelledFile] = []
    for path in classes:
        if any(ord(sign) < _FIRST_PRINTABLE or "\ud800" <= sign <= "\udfff" for sign in path.name):
            raise DataError(
                f"class folder {printable(str(path))} has no readable name",
                expected="a name in UTF-8",
                got="bytes that are none, or signs that cannot be printed",
                remedy="Rename it: a class takes its folder's name",
            )
        found = sorted(p for p in path.rglob("*") if _may_be_picture(p))
        if not found:
            raise DataError(
                f"class folder {path} is empty",
                expected="pictures",
                got="none",
                remedy="Add pictures of this class, or remove the folder",
            )
        files += [LabelledFile(p, path.name, source) for p in found]
    return files


def _may_be_picture(path: Path) -> bool:
    """Files, and links that lead nowhere: these are told of as unreadable, where they would be missed in silence."""
    return not path.name.startswith(".") and (path.is_file() or (path.is_symlink() and not path.exists()))


def load(
    files: Sequence[LabelledFile],
    size: int,
    fit: Fit,
    advance: Callable[[], object] = lambda: None,
    region: Region | None = None,
    align: Align = "none",
) -> Dataset:
    """Reads pictures and brings them to the network's size, once.

    Args:
        files: the files.
        size: side, pixels.
        fit: see ``edge_qc.preprocess.resize``.
        advance: called after each file.
        region: the region of interest; None for whole pictures. A picture that does not hold it is unreadable.
        align: ``part``: the part is found and cut out. A picture in which none is found is unreadable.

    Raises:
        DataError: if fewer than two classes have pictures that can be read.
    """
    kept: list[LabelledFile] = []
    hashes: list[str] = []
    unreadable: list[Unreadable] = []
    pixels = np.empty((len(files), size, size), np.uint8)
    fitting = Fitting(size, size, fit, region, align)
    for file in files:
        try:
            pixels[len(kept)] = fitting.pixels(read_picture(file.path))
        except (PictureError, OSError) as error:
            unreadable.append(Unreadable(file.path, str(error)))
        else:
            kept.append(file)
            hashes.append(file_hash(file.path))
        advance()
    labels = _labels(files, kept, unreadable)
    targets = np.array([labels.index(file.label) for file in kept], np.int64)
    return Dataset(tuple(kept), pixels[: len(kept)], labels, targets, tuple(hashes), tuple(unreadable))


def with_openings(data: Dataset, unwrapping: Unwrapping, threads: int = 1) -> Dataset:
    """The pictures with the opening of each, where the network is to see unwrapped rings; else as they are.

    Pictures without an opening are then skipped as unreadable: the device does not judge such either.

    Args:
        data: the pictures.
        unwrapping: ``ring``, ``none``, or ``auto`` for a ring where all but one in a hundred pictures have an opening.
        threads: that look for openings.

    Raises:
        DataError: if a class would be left without a picture.
    """
    if unwrapping == "none":
        return data
    with ThreadPoolExecutor(threads) as pool:
        openings = list(pool.map(find_opening, data.pixels))
    found = np.array([opening is not None for opening in openings])
    if unwrapping == "auto" and found.mean() < _MOST_HAVE_OPENINGS:
        return data
    places = np.flatnonzero(found)
    kept = [data.files[place] for place in places]
    without = tuple(Unreadable(data.files[place].path, _NO_OPENING) for place in np.flatnonzero(~found))
    _labels(data.files, kept, without)
    return replace(
        data,
        files=tuple(kept),
        pixels=data.pixels if found.all() else data.pixels[places],
        targets=data.targets[places],
        hashes=tuple(data.hashes[place] for place in places),
        unreadable=data.unreadable + without,
        openings=tuple(opening for opening in openings if opening is not None),
    )


def _labels(
    files: Sequence[LabelledFile], kept: Sequence[LabelledFile], unreadable: Sequence[Unreadable]
) -> tuple[str, ...]:
    labels = tuple(sorted({file.label for file in files}))
    gone = sorted(set(labels) - {file.label for file in kept})
    if gone:
        lost = {file.path for file in files if file.label == gone[0]}
        why = next((one for one in unreadable if one.path in lost), None)
        raise DataError(
            f"class {gone[0]} has no picture that can be read",
            expected="at least one",
            got=f"none of {len(lost)}" + (f"; the first, {why.path.name}: {why.reason}" if why else ""),
            remedy="Replace them by whole pictures of a part, or change what the recipe asks of them",
        )
    _check_two(labels)
    return labels


def _check_two(labels: Sequence[str]) -> None:
    if len(labels) < 2:
        raise DataError(
            "nothing to tell apart",
            expected="pictures of two classes or more",
            got=f"one class, {labels[0]}" if labels else "none",
            remedy="Add a folder with pictures of the other class",
        )


def choose_ok_labels(labels: Iterable[str], given: Sequence[str]) -> tuple[str, ...]:
    """The good classes: those given, else those whose name starts with ok, good or pass.

    Raises:
        DataError: if there is one class only, one given is unknown, or none or all of the classes would be good.
    """
    labels = tuple(labels)
    _check_two(labels)
    unknown = sorted(set(given) - set(labels))
    if unknown:
        raise DataError(f"--ok-label {unknown[0]} is no class", expected=f"one of {', '.join(labels)}", got=unknown[0])
    good = tuple(label for label in labels if (label in given if given else label.lower().startswith(GOOD_PREFIXES)))
    if not good or len(good) == len(labels):
        raise DataError(
            "which classes are good is not clear",
            expected="some good and some defective",
            got=f"{'all' if good else 'none'} of {', '.join(labels)} good",
            remedy="Name each good class with --ok-label",
        )
    return good


def check_same_labels(train: Iterable[str], test: Iterable[str]) -> None:
    """Raises ``DataError`` unless the training and the test pictures have the same classes."""
    left, right = sorted(set(train)), sorted(set(test))
    if left != right:
        raise DataError(
            "the classes of the test pictures differ from those of the training pictures",
            expected=", ".join(left),
            got=", ".join(right),
            remedy="Name the folders alike and give both sets every class",
        )
