"""Judges labelled pictures with the device's own code: read, gate, preprocess, classify, decide."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge_qc.bundle import Bundle
from edge_qc.classify.litert import LiteRtClassifier
from edge_qc.domain import Frame, Outcome, Part
from edge_qc.errors import PictureError
from edge_qc.inspector import Inspector
from edge_qc.picture import read_picture
from edge_qc.quality import QualityFault, check_quality
from edge_qc.sections import Quality
from edge_qc_trainer.dataset import LabelledFile, Unreadable
from edge_qc_trainer.errors import DataError


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the device says of a labelled picture.

    Attributes:
        path: the file.
        label: its true class.
        outcome: the verdict.
        predicted: the class the verdict rests on; None when it was not inspected.
        score: probability of the defective classes together, 0 to 1; None when it was not inspected.
        reason: the verdict's reason.
        source: which DATA the file came with, from 0.
    """

    path: Path
    label: str
    outcome: Outcome
    predicted: str | None
    score: float | None
    reason: str
    source: int = 0


def inspector_of(bundle: Bundle) -> Inspector:
    """The device's inspector with a bundle, its thresholds, and the gate's defaults."""
    quality, thresholds = Quality(), bundle.card.thresholds

    def gate(frame: Frame) -> QualityFault | None:
        return check_quality(frame, quality.dark_below, quality.bright_above, quality.flat_below)

    classifier = LiteRtClassifier(bundle)
    return Inspector(gate, classifier, bundle.card.ok_labels, thresholds.ok_below, thresholds.reject_from)


def judge(
    bundle: Bundle, files: Sequence[LabelledFile], advance: Callable[[], object] = lambda: None
) -> tuple[list[Judgement], list[Unreadable]]:
    """The verdict on every file that is a whole picture, and the files that are not.

    Args:
        bundle: a verified bundle.
        files: the pictures.
        advance: called after each.

    Raises:
        DataError: if a file's label is not one of the bundle's.
        ModelError: if the runtime refuses the model.
    """
    check_labels(bundle, files)
    inspector = inspector_of(bundle)
    judgements: list[Judgement] = []
    unreadable: list[Unreadable] = []
    for seq, file in enumerate(files, 1):
        try:
            judgements.append(_judge_one(inspector, file, seq))
        except (PictureError, OSError) as error:
            unreadable.append(Unreadable(file.path, str(error)))
        advance()
    return judgements, unreadable


def check_labels(bundle: Bundle, files: Sequence[LabelledFile]) -> None:
    """Raises ``DataError`` if a class folder is not one of the bundle's labels."""
    unknown = sorted({file.label for file in files} - set(bundle.card.labels))
    if unknown:
        raise DataError(
            f"the model {bundle.card.id} knows no class {unknown[0]}",
            expected=f"folders named {', '.join(bundle.card.labels)}",
            got=", ".join(sorted({file.label for file in files})),
            remedy="Name the folders as the model's labels, or give --model a bundle of these classes",
        )


def _judge_one(inspector: Inspector, file: LabelledFile, seq: int) -> Judgement:
    now, at = time.monotonic_ns(), datetime.now(UTC)
    frame = Frame(read_picture(file.path), seq, now, at, source="evaluate", name=file.path.name)
    verdict, _ = inspector.inspect(Part(seq, file.path.name, now, at, deadline_ns=now, source="evaluate", frame=frame))
    return Judgement(
        file.path, file.label, verdict.outcome, verdict.label, verdict.score, verdict.reason, source=file.source
    )
