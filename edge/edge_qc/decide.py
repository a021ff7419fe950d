"""Prediction -> verdict."""

from collections.abc import Sequence

from edge_qc.domain import Outcome, Prediction, Verdict


def defect_score(prediction: Prediction, ok_labels: Sequence[str]) -> float:
    """Probability of the defective classes together, 0 to 1."""
    good = sum(
        float(p) for label, p in zip(prediction.labels, prediction.probabilities, strict=True) if label in ok_labels
    )
    return min(1.0, max(0.0, 1.0 - good))


def decide(prediction: Prediction, ok_labels: Sequence[str], ok_below: float, reject_from: float) -> Verdict:
    """The verdict of a prediction.

    Args:
        prediction: class probabilities.
        ok_labels: the classes that are good.
        ok_below: a score under this is ``ok``, 0 to ``reject_from``.
        reject_from: a score of this or more is ``reject``; what lies between is ``unsure``.
    """
    score = defect_score(prediction, ok_labels)
    if score < ok_below:
        return Verdict(Outcome.OK, "good", _likeliest(prediction, ok_labels, good=True), score)
    if score >= reject_from:
        return Verdict(Outcome.REJECT, "defect", _likeliest(prediction, ok_labels, good=False), score)
    label = prediction.labels[int(prediction.probabilities.argmax())]
    return Verdict(Outcome.UNSURE, "between_thresholds", label, score)


def _likeliest(prediction: Prediction, ok_labels: Sequence[str], *, good: bool) -> str:
    pairs = zip(prediction.labels, prediction.probabilities, strict=True)
    return max((p, label) for label, p in pairs if (label in ok_labels) == good)[1]
