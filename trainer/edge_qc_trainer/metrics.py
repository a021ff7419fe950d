"""Figures of labelled verdicts. The intervals are Clopper-Pearson's, 95 %."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import classification_report, confusion_matrix, roc_auc_score

from edge_qc.domain import Outcome
from edge_qc_trainer.dataset import IntArray, Unreadable
from edge_qc_trainer.evaluate import Judgement

Figures = dict[str, Any]


def proportion(count: int, of: int) -> Figures:
    """``count`` of ``of`` with the exact 95 % interval of its rate (Clopper and Pearson, Biometrika 1934)."""
    if of == 0:
        return {"count": 0, "of": 0, "rate": 0.0, "ci95": [0.0, 1.0]}
    interval = binomtest(count, of).proportion_ci(0.95, method="exact")
    return {"count": count, "of": of, "rate": count / of, "ci95": [float(interval.low), float(interval.high)]}


def figures(
    judgements: Sequence[Judgement],
    labels: Sequence[str],
    ok_labels: Sequence[str],
    unreadable: Sequence[Unreadable] = (),
) -> Figures:
    """The figures as CONTRACT.md names them.

    ``n`` counts the pictures that were inspected: what the gate refuses, and what is no picture, is counted beside it.
    An ``unsure`` part is neither an escape nor overkill; its class is the likeliest one.

    Args:
        judgements: the verdicts.
        labels: the classes, in the order of rows and columns.
        ok_labels: those that are good.
        unreadable: files that were no whole pictures.
    """
    inspected = [judgement for judgement in judgements if judgement.outcome is not Outcome.NOT_INSPECTED]
    truth, predicted = [j.label for j in inspected], [j.predicted for j in inspected]
    outcomes = Counter(judgement.outcome for judgement in judgements)
    return {
        "n": len(inspected),
        "accuracy": proportion(sum(map(_right, inspected)), len(inspected))["rate"],
        "accuracy_ci95": proportion(sum(map(_right, inspected)), len(inspected))["ci95"],
        "labels": list(labels),
        "ok_labels": list(ok_labels),
        "confusion_matrix": confusion_matrix(truth, predicted, labels=list(labels)).tolist() if inspected else [],
        **_report(truth, predicted, labels),
        "escape": _rate(inspected, ok_labels, good=False, wrong=Outcome.OK),
        "overkill": _rate(inspected, ok_labels, good=True, wrong=Outcome.REJECT),
        "verdicts": {outcome.value: outcomes[outcome] for outcome in Outcome},
        "auc": _auc(inspected, ok_labels),
        "errors": [_named(judgement) for judgement in _worst_first(inspected, ok_labels)],
        "not_inspected": [
            {"path": str(j.path), "label": j.label, "reason": j.reason} for j in judgements if not j.predicted
        ],
        "unreadable": [{"path": str(file.path), "reason": file.reason} for file in unreadable],
    }


def _right(judgement: Judgement) -> bool:
    return judgement.predicted == judgement.label


def _rate(inspected: Sequence[Judgement], ok_labels: Sequence[str], *, good: bool, wrong: Outcome) -> Figures:
    of = [judgement for judgement in inspected if (judgement.label in ok_labels) == good]
    return proportion(sum(judgement.outcome is wrong for judgement in of), len(of))


def _report(truth: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]) -> Figures:
    if not truth:
        return {"per_class": {}, "macro_avg": {}, "weighted_avg": {}}
    report = classification_report(truth, predicted, labels=list(labels), output_dict=True, zero_division=0)
    rows = {name: _row(report[name]) for name in (*labels, "macro avg", "weighted avg")}
    macro, weighted = rows.pop("macro avg"), rows.pop("weighted avg")
    return {"per_class": rows, "macro_avg": macro, "weighted_avg": weighted}


def _row(row: dict[str, float]) -> Figures:
    return {
        "precision": float(row["precision"]),
        "recall": float(row["recall"]),
        "f1": float(row["f1-score"]),
        "support": int(row["support"]),
    }


def _auc(inspected: Sequence[Judgement], ok_labels: Sequence[str]) -> float | None:
    defective = [judgement.label not in ok_labels for judgement in inspected]
    if len(set(defective)) < 2:
        return None
    return float(roc_auc_score(defective, [judgement.score for judgement in inspected]))


def _worst_first(inspected: Sequence[Judgement], ok_labels: Sequence[str]) -> list[Judgement]:
    """The wrong ones, those first whose score is farthest from the truth."""
    wrong = [judgement for judgement in inspected if not _right(judgement)]
    return sorted(wrong, key=lambda j: -abs((j.score or 0.0) - (j.label not in ok_labels)))


def _named(judgement: Judgement) -> Figures:
    return {
        "path": str(judgement.path),
        "label": judgement.label,
        "score": judgement.score,
        "predicted": judgement.predicted,
        "verdict": judgement.outcome.value,
    }


def by_group(judgements: Sequence[Judgement], groups: IntArray) -> Figures:
    """Figures that count parts, not pictures: many copies of one part are one trial.

    Args:
        judgements: the verdicts.
        groups: shape (len(judgements),), int64: the part that each picture shows.

    Returns:
        ``n`` parts; ``right``: those of which more than half of the pictures are right; ``mean_accuracy``: the mean of
        the parts' own accuracies; ``wrong``: every part with a wrong picture, the worst first.
    """
    right = np.array([_right(judgement) for judgement in judgements], bool)
    parts = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    shares = [float(right[members].mean()) for members in parts]
    wrong = [
        {
            "label": judgements[members[0]].label,
            "pictures": len(members),
            "wrong": int((~right[members]).sum()),
            "example": str(judgements[members[0]].path),
        }
        for members, share in sorted(zip(parts, shares, strict=True), key=lambda pair: pair[1])
        if share < 1
    ]
    return {
        "n": len(parts),
        "right": proportion(sum(share > 0.5 for share in shares), len(parts)),
        "mean_accuracy": float(np.mean(shares)) if shares else 0.0,
        "wrong": wrong,
    }
