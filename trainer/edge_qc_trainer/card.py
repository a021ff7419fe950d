"""What a model says of itself: notes beside the ``.keras`` file, the bundle's card, and the card for people."""

import hashlib
import platform
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

import edge_qc
import edge_qc_trainer
from edge_qc.align import Align
from edge_qc.bundle import Bundle, Card, Statistics, Thresholds
from edge_qc.preprocess import Fit, Normalisation
from edge_qc.region import Region
from edge_qc_trainer.convert import Quantized
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.graph import multiply_adds
from edge_qc_trainer.metrics import Figures
from edge_qc_trainer.report import render


class Notes(BaseModel):
    """What ``convert`` must know of a ``.keras`` file: kept beside it as ``<file>.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    labels: tuple[str, ...]
    ok_labels: tuple[str, ...]
    fit: Fit = "letterbox"
    region: Region | None = None
    align: Align = "none"
    unwrap: Literal["none", "ring"] = "none"
    normalisation: Normalisation = "standardise"
    temperature: float = 1.0
    thresholds: Thresholds = Thresholds()
    statistics: Statistics | None = None
    data: dict[str, str | int | float] = Field(default_factory=dict)
    made_with: dict[str, str] = Field(default_factory=dict)
    licence_note: str = ""
    command: str = ""


def check_name(name: str, model_version: str) -> None:
    """Raises ``DataError`` for a name or version that no card takes: before the work, not after it."""
    for option, field, value in (("--name", "name", name), ("--model-version", "version", model_version)):
        try:
            TypeAdapter(Annotated[str, *Card.model_fields[field].metadata]).validate_python(value)
        except ValidationError as error:
            raise DataError(option, expected=error.errors()[0]["msg"], got=value) from None


def notes_file(keras_file: Path) -> Path:
    """Where the notes of a ``.keras`` file lie."""
    return keras_file.with_name(f"{keras_file.name}.json")


def write_notes(keras_file: Path, notes: Notes) -> None:
    """Writes the notes of a ``.keras`` file beside it."""
    notes_file(keras_file).write_text(notes.model_dump_json(indent=2) + "\n", "utf-8")


def read_notes(keras_file: Path) -> Notes | None:
    """The notes beside a ``.keras`` file, None where there are none.

    Raises:
        DataError: if they are not what ``fit`` writes.
    """
    path = notes_file(keras_file)
    if not path.is_file():
        return None
    try:
        return Notes.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(
            f"{path} is damaged",
            expected="the notes that fit wrote",
            got=f"{error.error_count()} faults",
            remedy="Copy it again, or remove it and give --label and --ok-label",
        ) from None


def versions() -> dict[str, str]:
    """What made the model: libraries, backend, the machine, the sources of trainer and device, date (UTC)."""
    import keras

    made_with = {"python": platform.python_version(), "backend": keras.backend.backend()}
    made_with |= {"platform": f"{platform.system()} {platform.machine()}", "cpu": _processor(), "code": _code()}
    for name in ("edge-qc", "keras", "tensorflow", "ai-edge-litert", "numpy", "opencv-python-headless", "scikit-learn"):
        try:
            made_with[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**made_with, "date": datetime.now(UTC).date().isoformat()}


def _processor() -> str:
    """As Linux names it, else what Python knows."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _code() -> str:
    """Twelve digits of the SHA-256 over the sources of trainer and device: the same sources give the same ones."""
    digest = hashlib.sha256()
    for package in (edge_qc, edge_qc_trainer):
        for file in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def made_of(bundle: Bundle) -> Figures:
    """What ties figures to a model: its ``model`` id, the ``model_sha256`` of its file, and when (``at``, UTC)."""
    return {
        "model": bundle.card.id,
        "model_sha256": hashlib.sha256(bundle.model).hexdigest(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def bundle_of(quantized: Quantized, notes: Notes, metrics: Figures, path: Path) -> Bundle:
    """A bundle in memory; ``path`` is where messages say that it is."""
    card = Card(
        name=notes.name,
        version=notes.version,
        labels=notes.labels,
        ok_labels=notes.ok_labels,
        input=quantized.input.model_copy(
            update={
                "region": notes.region,
                "align": notes.align,
                "unwrap": notes.unwrap,
                "normalisation": notes.normalisation,
            }
        ),
        outputs=quantized.outputs,
        temperature=notes.temperature,
        thresholds=notes.thresholds,
        statistics=notes.statistics,
        metrics=metrics,
        data={**notes.data, "multiply_adds": multiply_adds(quantized.model)},
        made_with=notes.made_with,
    )
    return Bundle(path, card, quantized.model)


def readable_card(bundle: Bundle, notes: Notes, metrics: Figures, measured: str, notices: Sequence[str] = ()) -> str:
    """``MODEL_CARD.md``.

    Args:
        bundle: the bundle.
        notes: of its run.
        metrics: the figures; empty where nothing was measured.
        measured: a sentence that says what they were measured on.
        notices: sentences that say what the figures cannot say.
    """
    card = bundle.card
    return render(
        "model_card.md.j2",
        model=card.id,
        ok_labels=card.ok_labels,
        defective=[label for label in card.labels if label not in card.ok_labels],
        size=card.input.height,
        kilobytes=round(len(bundle.model) / 1000),
        data=notes.data,
        licence_note=notes.licence_note,
        measured=measured,
        notices=notices,
        model_sha256=made_of(bundle)["model_sha256"],
        metrics=metrics,
        thresholds=card.thresholds,
        command=notes.command,
        made_with=notes.made_with,
    )
