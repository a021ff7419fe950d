"""A bundle: a model with all that is needed to run and to trust it (CONTRACT.md, A bundle)."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_qc.align import Align
from edge_qc.errors import BundleError
from edge_qc.features import LENGTH, RINGS
from edge_qc.preprocess import Fitting, Normalisation
from edge_qc.region import Region

MODEL_FILE = "model.tflite"
CARD_FILE = "model.json"
READABLE_CARD_FILE = "MODEL_CARD.md"
SUMS_FILE = "SHA256SUMS"
SHIPPED = Path(__file__).parent / "models" / "casting"

_MAP_RANK = 4
_TRIANGLE = LENGTH * (LENGTH + 1) // 2
Probability = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantization(_Section):
    """``real = scale * (quantized - zero_point)``."""

    scale: Annotated[float, Field(gt=0)]
    zero_point: Annotated[int, Field(ge=-128, le=127)]


class Input(Quantization):
    """The model's input tensor: one picture, int8."""

    height: Annotated[int, Field(ge=32, le=2048)] = 300
    width: Annotated[int, Field(ge=32, le=2048)] = 300
    channels: Literal[1] = 1
    dtype: Literal["int8"] = "int8"
    normalisation: Normalisation = "standardise"
    fit: Literal["letterbox", "crop", "stretch"] = "letterbox"
    region: Region | None = None
    align: Align = "none"
    unwrap: Literal["none", "ring"] = "none"

    @model_validator(mode="after")
    def _halves_are_alike(self) -> Self:
        if self.unwrap == "ring" and self.height % 2:
            raise ValueError(
                f"height: expected an even one with unwrap: ring, which takes two halves; got {self.height}"
            )
        if self.normalisation == "standardise-circles" and self.unwrap != "ring":
            raise ValueError("normalisation: expected standardise, or unwrap: ring, which has circles")
        return self

    def fitting(self, region: Region | None = None) -> Fitting:
        """How a frame is brought to this input, from a region of it: that given, else the one of training."""
        return Fitting(self.height, self.width, self.fit, region or self.region, self.align)


class Output(Quantization):
    """One output tensor, by its place in the model's list of outputs."""

    index: Annotated[int, Field(ge=0, le=7)]
    shape: tuple[int, ...]


class Outputs(_Section):
    """Logits of the classes, the map of each class's evidence, or both.

    Without ``logits`` the map says them: the evidence of all places adds up to
    ``softness * log(sum(exp(map / softness)))``, of a good class with the mean instead of the sum. The softer, the
    more do many weak signs count beside the loudest place.
    """

    logits: Output | None = None
    heatmap: Output | None = None
    softness: Annotated[float, Field(gt=0, le=10)] | None = None

    @model_validator(mode="after")
    def _say_the_classes(self) -> Self:
        if self.logits is None and (self.heatmap is None or self.softness is None):
            raise ValueError("expected logits, or heatmap and softness")
        if self.heatmap is not None and len(self.heatmap.shape) != _MAP_RANK:
            raise ValueError(f"heatmap: expected (1, rows, columns, labels), got {self.heatmap.shape}")
        return self

    @property
    def told_by(self) -> Output:
        """The output that says the classes."""
        return next(output for output in (self.logits, self.heatmap) if output is not None)


class Thresholds(_Section):
    """Score under ``ok_below`` is ok, from ``reject_from`` on reject, between them unsure."""

    ok_below: Probability = 0.5
    reject_from: Probability = 0.5

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.ok_below > self.reject_from:
            raise ValueError(f"ok_below ({self.ok_below}) must not exceed reject_from ({self.reject_from})")
        return self


class Statistics(_Section):
    """What the training pictures look like to the gate (``edge_qc.features``), varied as a line may vary them.

    ``centre`` and ``whitening`` (upper triangle, row by row) give the Mahalanobis distance of a picture; ``profile`` is
    the training pictures' mean. The bounds are those that the gate takes where the config names no other.
    """

    schema_version: Literal[1] = 1
    pictures: Annotated[int, Field(ge=1)]
    centre: Annotated[tuple[float, ...], Field(min_length=LENGTH, max_length=LENGTH)]
    whitening: Annotated[tuple[float, ...], Field(min_length=_TRIANGLE, max_length=_TRIANGLE)]
    profile: Annotated[tuple[float, ...], Field(min_length=RINGS, max_length=RINGS)]
    blurred_below: Annotated[float, Field(ge=0)]
    misaligned_above: Annotated[float, Field(ge=0)]
    missing_below: Annotated[float, Field(ge=-2, le=1)]
    unlike_above: Annotated[float, Field(gt=0)]


class Card(_Section):
    """``model.json``: what the model is and what it was seen to do."""

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+([.+-][0-9A-Za-z.-]+)?$")]
    labels: Annotated[tuple[str, ...], Field(min_length=2, max_length=100)]
    ok_labels: Annotated[tuple[str, ...], Field(min_length=1)]
    input: Input
    outputs: Outputs
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    thresholds: Thresholds = Thresholds()
    statistics: Statistics | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    made_with: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _labels_make_sense(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels: each must stand once, got {list(self.labels)}")
        unknown = set(self.ok_labels) - set(self.labels)
        if unknown:
            raise ValueError(f"ok_labels: {sorted(unknown)} are not among labels {list(self.labels)}")
        if set(self.ok_labels) == set(self.labels):
            raise ValueError("ok_labels: at least one label must be defective")
        return self

    @property
    def id(self) -> str:
        """Name and version, as payloads and records have it: ``casting-1.0.0``."""
        return f"{self.name}-{self.version}"


class Bundle:
    """A bundle whose sums held when it was loaded.

    Attributes:
        path: its folder.
        card: what ``model.json`` says.
        model: the bytes that were summed; the runtime is given these, not the file again.
    """

    def __init__(self, path: Path, card: Card, model: bytes) -> None:
        self.path, self.card, self.model = path, card, model


def load_bundle(path: Path) -> Bundle:
    """Reads and verifies a bundle. Nothing of it is used whose sum does not hold.

    Raises:
        BundleError: if a file is missing or altered, or the card does not say what it must.
    """
    files = verify_sums(path)
    try:
        card = Card.model_validate_json(files[CARD_FILE])
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or CARD_FILE}: {e['msg']}" for e in error.errors())
        raise BundleError(
            f"{path / CARD_FILE} is not a model card", expected="schema version 1", got=faults, remedy=_REMEDY
        ) from None
    return Bundle(path, card, files[MODEL_FILE])


_REMEDY = "Copy the bundle again from where it was made, or make it anew with edge-qc-train"


def verify_sums(path: Path) -> dict[str, bytes]:
    """The files of a bundle, each read once and checked against ``SHA256SUMS``.

    Raises:
        BundleError: if the sums file is missing, names a file outside the bundle, leaves out a needed file, or a sum
            does not hold.
    """
    if not path.is_dir():
        raise BundleError(f"no bundle at {path}", expected="a folder", got="none", remedy="Give --model its folder")
    files: dict[str, bytes] = {}
    for name, expected in _read_sums(path).items():
        try:
            files[name] = (path / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"bundle {path} is incomplete", expected=f"{name}", got=error.strerror or str(error), remedy=_REMEDY
            ) from None
        got = hashlib.sha256(files[name]).hexdigest()
        if got != expected:
            raise BundleError(
                f"{path / name} is not the file the bundle was made with",
                expected=f"SHA-256 {expected[:16]}…",
                got=f"{got[:16]}…",
                remedy=_REMEDY,
            )
    missing = {MODEL_FILE, CARD_FILE, READABLE_CARD_FILE} - files.keys()
    if missing:
        raise BundleError(
            f"bundle {path} is incomplete", expected=f"{SUMS_FILE} with {', '.join(sorted(missing))}", remedy=_REMEDY
        )
    return files


def _read_sums(path: Path) -> dict[str, str]:
    try:
        lines = (path / SUMS_FILE).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"bundle {path} has no readable {SUMS_FILE}", expected="one line a file", got=str(error), remedy=_REMEDY
        ) from None
    sums: dict[str, str] = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or Path(name).name != name:
            raise BundleError(
                f"{path / SUMS_FILE} is malformed",
                expected="lines of a SHA-256, two blanks and a file name",
                got=repr(line[:80]),
                remedy=_REMEDY,
            )
        sums[name] = digest
    return sums


def write_bundle(path: Path, card: Card, model: bytes, readable_card: str) -> None:
    """Writes a bundle so that it is whole or absent: into a folder beside it, which then takes its name.

    Args:
        path: the bundle's folder; one that stands there is replaced.
        card: becomes ``model.json``.
        model: becomes ``model.tflite``.
        readable_card: becomes ``MODEL_CARD.md``.

    Raises:
        BundleError: if something else than a bundle stands there.
        OSError: if it cannot be written; then what stood there is as it was.
    """
    files = {
        MODEL_FILE: model,
        CARD_FILE: (card.model_dump_json(indent=2) + "\n").encode(),
        READABLE_CARD_FILE: readable_card.encode(),
    }
    files[SUMS_FILE] = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()
    check_replaceable(path)
    with whole_folder(path) as draft:
        for name, data in files.items():
            with (draft / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())


def check_replaceable(path: Path) -> None:
    """Raises ``BundleError`` if what stands at ``path`` is neither a bundle nor an empty folder."""
    if not is_free(path, {SUMS_FILE}, {MODEL_FILE, CARD_FILE, READABLE_CARD_FILE, SUMS_FILE}):
        raise BundleError(
            f"{path} is in use",
            expected="a new folder, an empty one, or a bundle and nothing else",
            got="something else",
            remedy="Give another folder",
        )


def is_free(path: Path, needed: set[str], known: set[str]) -> bool:
    """Whether nothing at ``path`` would be missed: nothing is there, or what one's own files are and no other.

    Args:
        path: where a folder is to be written.
        needed: names that a folder must hold to be one's own.
        known: all names that it may hold.
    """
    names = {one.name for one in path.iterdir()} if path.is_dir() else {path.name} if path.exists() else set()
    return not names or needed <= names <= known


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A draft folder that takes the name ``path`` once all is written; after a fault ``path`` is as it was.

    Raises:
        OSError: if it cannot be written.
    """
    path = path.resolve()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        _replace(path, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _replace(path: Path, draft: Path) -> None:
    """What stood at ``path`` goes only when the draft stands in its place."""
    if not path.exists():
        draft.rename(path)
        return
    aside = draft.with_name(f"{draft.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    try:
        draft.rename(path)
    except BaseException:  # a stop too
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
