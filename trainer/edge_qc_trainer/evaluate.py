"""Judges labelled pictures with the device's own code: read, gate, preprocess, classify, decide."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edge_qc.bundle import Bundle, Thresholds
from edge_qc.classify.litert import LiteRtClassifier
from edge_qc.decide import decide
from edge_qc.domain import FloatArray, Frame, Outcome, Part, Pixels, Prediction, Verdict
from edge_qc.errors import PictureError
from edge_qc.inspector import Inspector
from edge_qc.picture import read_picture
from edge_qc.quality import QualityGate
from edge_qc.sections import Quality
from edge_qc.unwrap import unwrap
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
        probabilities: of the classes in the model's order, sum 1; empty when it was not inspected.
        heatmap: shape (rows, columns), float32, 0 to 1: where the evidence for a defect lies; None where there is none.
    """

    path: Path
    label: str
    outcome: Outcome
    predicted: str | None
    score: float | None
    reason: str
    source: int = 0
    probabilities: tuple[float, ...] = ()
    heatmap: FloatArray | None = field(default=None, compare=False, repr=False)

    def decided_anew(
        self,
        labels: Sequence[str],
        ok_labels: Sequence[str],
        thresholds: Thresholds,
        probabilities: Sequence[float] = (),
    ) -> "Judgement":
        """The same picture under other thresholds, by the device's rule; one that was not inspected stays so.

        Args:
            labels: the classes in the order of the probabilities.
            ok_labels: those that are good.
            thresholds: between ok, unsure and reject.
            probabilities: to decide on in place of this judgement's own.
        """
        if not self.probabilities:
            return self
        chosen = tuple(probabilities) or self.probabilities
        prediction = Prediction(tuple(labels), np.array(chosen, np.float32))
        verdict = decide(prediction, ok_labels, thresholds.ok_below, thresholds.reject_from)
        return replace(
            self,
            outcome=verdict.outcome,
            predicted=verdict.label,
            score=verdict.score,
            reason=verdict.reason,
            probabilities=chosen,
        )

    def without_heatmap(self) -> "Judgement":
        """The same without its heatmap, which is most of it."""
        return replace(self, heatmap=None)


def inspector_of(bundle: Bundle) -> Inspector:
    """The device's inspector with a bundle, its thresholds, and the gate's defaults."""
    thresholds = bundle.card.thresholds
    gate, classifier = QualityGate(Quality(), bundle.card.statistics), LiteRtClassifier(bundle)
    fit = bundle.card.input.fitting().frame
    return Inspector(gate, classifier, bundle.card.ok_labels, thresholds.ok_below, thresholds.reject_from, fit=fit)


class BackgroundJudge:
    """Judges what is left of a picture when its part is masked out, without the gate, which refuses such a sight.

    The part is found on the picture as it is, and with it where to cut or to unwrap; only then is it masked: what the
    model sees is what it would have seen, less the part.

    Args:
        bundle: a verified bundle.
        mask: takes what the model sees of a picture, (height, width) uint8, and gives it without the part.
    """

    def __init__(self, bundle: Bundle, mask: Callable[[Pixels], Pixels]) -> None:
        self._card, self._mask, self._classifier = bundle.card, mask, LiteRtClassifier(bundle)

    def __call__(self, file: LabelledFile, pixels: Pixels) -> Judgement:
        """The verdict; not inspected where no part is found in the picture."""
        now = time.monotonic_ns()
        try:
            seen = self._card.input.fitting().pixels(pixels)
            _, opening = self._classifier.prepare(Frame(seen, 1, now, datetime.now(UTC), source="evaluate"))
        except PictureError as error:
            return Judgement(file.path, file.label, Outcome.NOT_INSPECTED, None, None, str(error), file.source)
        masked = self._mask(seen)
        self._classifier.invoke(masked if opening is None else unwrap(masked, opening))
        said, thresholds = self._classifier.read(opening), self._card.thresholds
        verdict = decide(said, self._card.ok_labels, thresholds.ok_below, thresholds.reject_from)
        return _judgement(file, verdict, said)


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


def gone(path: Path, reason: str) -> DataError:
    """The error of a picture that could be read when a run began, and cannot be read now."""
    return DataError(
        f"{path} could be read when the run began",
        expected="all pictures in their places until its end",
        got=reason,
        remedy="Put it back, and give the same command again: a fit goes on from its checkpoint",
    )


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
    return judge_pixels(inspector, file, read_picture(file.path), seq)


def judge_pixels(inspector: Inspector, file: LabelledFile, pixels: Pixels, seq: int = 1) -> Judgement:
    """The verdict on a picture that came from a file, as it is or varied: shape (height, width), uint8."""
    now, at = time.monotonic_ns(), datetime.now(UTC)
    frame = Frame(pixels, seq, now, at, source="evaluate", name=file.path.name)
    part = Part(seq, file.path.name, now, at, deadline_ns=now, source="evaluate", frame=frame)
    verdict, prediction = inspector.inspect(part)
    judgement = _judgement(file, verdict, prediction)
    return replace(judgement, heatmap=prediction.heatmap) if prediction else judgement


def _judgement(file: LabelledFile, verdict: Verdict, prediction: Prediction | None) -> Judgement:
    return Judgement(
        file.path,
        file.label,
        verdict.outcome,
        verdict.label,
        verdict.score,
        verdict.reason,
        source=file.source,
        probabilities=tuple(map(float, prediction.probabilities)) if prediction else (),
    )
