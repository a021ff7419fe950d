"""Prediction -> verdict."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_qc.domain import Outcome, Prediction, Verdict

_SMALLEST = float(np.finfo(np.float32).tiny)  # a probability of 0 has no logarithm


def defect_score(prediction: Prediction, ok_labels: Sequence[str]) -> float:
    """Probability of the defective classes together, 0 to 1."""
    good = sum(
        float(p) for label, p in zip(prediction.labels, prediction.probabilities, strict=True) if label in ok_labels
    )
    return min(1.0, max(0.0, 1.0 - good))


def vote(predictions: Sequence[Prediction], ok_labels: Sequence[str]) -> Prediction:
    """One prediction from those of a part's frames: the mean of their logits, and the heatmap of the highest score.

    The logarithms of a frame's probabilities are its logits (over the temperature) up to a constant, and softmax does
    not see a constant: so the probabilities are all that is needed.

    Args:
        predictions: one or more, of the same labels, each with the ``frame_index`` that it is of.
        ok_labels: the classes that are good.

    Returns:
        The very object where there is only one.
    """
    loudest = max(predictions, key=lambda one: defect_score(one, ok_labels))
    if len(predictions) == 1:
        return loudest
    probabilities = np.array([one.probabilities for one in predictions], np.float64)
    logits = np.log(np.maximum(probabilities, _SMALLEST)).mean(axis=0)
    shares = np.exp(logits - logits.max())
    return replace(loudest, probabilities=np.asarray(shares / shares.sum(), np.float32))


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
