"""Figures of labelled verdicts, by picture and by part."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import classification_report, confusion_matrix, roc_auc_score

from edge_qc.domain import Outcome
from edge_qc_trainer.dataset import Flags, IntArray, Unreadable
from edge_qc_trainer.evaluate import Judgement
from edge_qc_trainer.intervals import (
    DEFECT_RATE,
    RESAMPLES,
    Floats,
    bootstrap,
    escape_ppm,
    middle_95,
    proportion,
)

Figures = dict[str, Any]


def figures(
    judgements: Sequence[Judgement],
    labels: Sequence[str],
    ok_labels: Sequence[str],
    unreadable: Sequence[Unreadable] = (),
) -> Figures:
    """The figures as CONTRACT.md names them; the intervals are Clopper-Pearson's, 95 %, every picture a trial.

    ``n`` counts the pictures that were inspected: what the gate refuses, and what is no picture, is counted beside it.
    An ``unsure`` part is neither an escape nor overkill; its class is the likeliest one.

    Args:
        judgements: the verdicts.
        labels: the classes, in the order of rows and columns.
        ok_labels: those that are good.
        unreadable: files that were no whole pictures.
    """
    inspected = inspected_of(judgements)
    truth, predicted = [j.label for j in inspected], [j.predicted for j in inspected]
    outcomes = Counter(judgement.outcome for judgement in judgements)
    accuracy = proportion(sum(map(is_right, inspected)), len(inspected))
    return {
        "n": len(inspected),
        "accuracy": accuracy["rate"],
        "accuracy_ci95": accuracy["ci95"],
        "labels": list(labels),
        "ok_labels": list(ok_labels),
        "confusion_matrix": confusion_matrix(truth, predicted, labels=list(labels)).tolist() if inspected else [],
        **_report(truth, predicted, labels),
        "escape": _rate(inspected, ok_labels, good=False, wrong=Outcome.OK),
        "overkill": _rate(inspected, ok_labels, good=True, wrong=Outcome.REJECT),
        "verdicts": {outcome.value: outcomes[outcome] for outcome in Outcome},
        "auc": _auc(inspected, ok_labels),
        "calibration": calibration(inspected, ok_labels),
        "errors": [_named(judgement) for judgement in worst_first(inspected, ok_labels)],
        "not_inspected": [
            {"path": str(j.path), "label": j.label, "reason": j.reason} for j in judgements if not j.predicted
        ],
        "unreadable": [{"path": str(file.path), "reason": file.reason} for file in unreadable],
    }


def inspected_of(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Those that the gate let through."""
    return [judgement for judgement in judgements if judgement.outcome is not Outcome.NOT_INSPECTED]


def is_right(judgement: Judgement) -> bool:
    """Whether the class is the true one."""
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


def calibration(inspected: Sequence[Judgement], ok_labels: Sequence[str], bins: int = 10) -> Figures:
    """How far a score is from the share of defective pictures that have it.

    Returns:
        ``ece``: the expected calibration error (Guo et al., ICML 2017): the distance between mean score and share of
        defective pictures in each of ``bins`` equal steps of the score, weighted by their pictures; ``bins``: a row
        for each step that has any.
    """
    if not inspected:
        return {"ece": None, "bins": []}
    scores = np.array([judgement.score for judgement in inspected], np.float64)
    defective = np.array([judgement.label not in ok_labels for judgement in inspected])
    steps = np.minimum((scores * bins).astype(int), bins - 1)
    rows = [
        {
            "from": step / bins,
            "to": (step + 1) / bins,
            "pictures": int((steps == step).sum()),
            "score": float(scores[steps == step].mean()),
            "defective": float(defective[steps == step].mean()),
        }
        for step in np.unique(steps).tolist()
    ]
    ece = sum(row["pictures"] * abs(row["score"] - row["defective"]) for row in rows) / len(inspected)
    return {"ece": float(ece), "bins": rows}


def worst_first(inspected: Sequence[Judgement], ok_labels: Sequence[str]) -> list[Judgement]:
    """The wrong ones, those first whose score is farthest from the truth."""
    wrong = [judgement for judgement in inspected if not is_right(judgement)]
    return sorted(wrong, key=lambda j: -abs((j.score or 0.0) - (j.label not in ok_labels)))


def _named(judgement: Judgement) -> Figures:
    return {
        "path": str(judgement.path),
        "label": judgement.label,
        "score": judgement.score,
        "predicted": judgement.predicted,
        "verdict": judgement.outcome.value,
    }


def by_group(
    judgements: Sequence[Judgement],
    groups: IntArray,
    ok_labels: Sequence[str] = (),
    *,
    defect_rate: float = DEFECT_RATE,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Figures:
    """Figures that count parts, not pictures: many copies of one part are one trial.

    A part counts with the share of its pictures of which something is so: the line sees each part once, in one of the
    places that its copies show.

    Args:
        judgements: the verdicts; those that were not inspected are left out.
        groups: shape (len(judgements),), int64: the part that each picture shows.
        ok_labels: the good classes.
        defect_rate: share of defective parts that come in, 0 to 1.
        seed: of the bootstrap.
        resamples: of the bootstrap; 0 leaves it out.

    Returns:
        ``n`` parts; ``right``: those of which more than half of the pictures are right; ``mean_accuracy``: the mean of
        the parts' own accuracies; ``escape`` and ``overkill`` of parts, with intervals as ``proportion`` makes them;
        ``escape_ppm`` (see ``_ppm``); ``bootstrap``: intervals of the same, from drawing parts anew, ``by_picture``
        for the figures that count pictures; ``wrong``: every part with a wrong picture, the worst first.
    """
    kept = [place for place, judgement in enumerate(judgements) if judgement.outcome is not Outcome.NOT_INSPECTED]
    inspected = [judgements[place] for place in kept]
    if not inspected:
        return {"n": 0, "right": proportion(0, 0), "mean_accuracy": 0.0, "wrong": []}
    names, part = np.unique(np.asarray(groups)[kept], return_inverse=True)
    flags = _flags(inspected, ok_labels)
    counts = {name: np.asarray(np.bincount(part, flag, len(names)), np.float64) for name, flag in flags.items()}
    shares = counts["right"] / counts["all"]
    escape, overkill = _of_parts(counts, "escape", "defective"), _of_parts(counts, "overkill", "good")
    return {
        "n": len(names),
        "right": proportion(int((shares > 0.5).sum()), len(names)),
        "mean_accuracy": float(shares.mean()),
        "escape": escape,
        "overkill": overkill,
        "escape_ppm": _ppm(counts, escape, defect_rate),
        **({"bootstrap": _drawn_anew(counts, defect_rate, seed, resamples)} if resamples else {}),
        "wrong": _wrong_parts(inspected, part, shares),
    }


def _flags(inspected: Sequence[Judgement], ok_labels: Sequence[str]) -> dict[str, Flags]:
    def flag(values: Sequence[bool]) -> npt.NDArray[np.bool_]:
        return np.array(values, bool)

    good = flag([judgement.label in ok_labels for judgement in inspected])
    ok = flag([judgement.outcome is Outcome.OK for judgement in inspected])
    reject = flag([judgement.outcome is Outcome.REJECT for judgement in inspected])
    return {
        "all": np.ones(len(inspected), bool),
        "right": flag([is_right(judgement) for judgement in inspected]),
        "defective": ~good,
        "good": good,
        "escape": ~good & ok,
        "overkill": good & reject,
        "shipped": good & ok,
    }


def _share(counts: dict[str, Floats], what: str, of: str) -> tuple[Floats, Floats]:
    """Each part's share, 0 where it has none; and 1 for each part that counts."""
    has = counts[of] > 0
    return np.divide(counts[what], counts[of], out=np.zeros(len(has)), where=has), has.astype(np.float64)


def _of_parts(counts: dict[str, Floats], what: str, of: str) -> Figures:
    shares, has = _share(counts, what, of)
    return proportion(round(float(shares.sum()), 9), int(has.sum()))


def _ppm(counts: dict[str, Floats], escape: Figures, defect_rate: float) -> Figures:
    """Escapes among a million shipped parts, and at the ends of the escape rate's exact interval; by part.

    None where there were no good or no defective parts to tell by.
    """
    if not (counts["good"].any() and counts["defective"].any()):
        return {"defect_rate": defect_rate, "ppm": None, "ci95": None}
    shipped = _of_parts(counts, "shipped", "good")["rate"]
    low, high = escape["ci95"]
    return {
        "defect_rate": defect_rate,
        "ppm": escape_ppm(defect_rate, escape["rate"], shipped),
        "ci95": [escape_ppm(defect_rate, low, shipped), escape_ppm(defect_rate, high, shipped)],
    }


def _drawn_anew(counts: dict[str, Floats], defect_rate: float, seed: int, resamples: int) -> Figures:
    """The bootstrap's 95 % intervals. None where a class is missing."""
    columns = dict(counts)
    for what, of in (("right", "all"), ("escape", "defective"), ("overkill", "good"), ("shipped", "good")):
        columns[f"{what} share"], columns[f"{of} parts"] = _share(counts, what, of)
    sums = bootstrap(columns, (counts["defective"] > 0).astype(np.int64), seed, resamples)

    def rate(what: str, of: str) -> Floats | None:
        return sums[what] / sums[of] if (sums[of] > 0).all() else None

    def interval(values: Floats | None) -> list[float] | None:
        return None if values is None else middle_95(values)

    escape, shipped = rate("escape share", "defective parts"), rate("shipped share", "good parts")
    ppm = None
    if escape is not None and shipped is not None:
        ppm = np.array([escape_ppm(defect_rate, e, g) for e, g in zip(escape, shipped, strict=True)])
    return {
        "resamples": resamples,
        "seed": seed,
        "accuracy": interval(rate("right share", "all parts")),
        "escape": interval(escape),
        "overkill": interval(rate("overkill share", "good parts")),
        "escape_ppm": interval(ppm),
        "by_picture": {
            "accuracy": interval(rate("right", "all")),
            "escape": interval(rate("escape", "defective")),
            "overkill": interval(rate("overkill", "good")),
        },
    }


def _wrong_parts(inspected: Sequence[Judgement], part: IntArray, shares: Floats) -> list[Figures]:
    rows = []
    for number in np.argsort(shares, kind="stable")[: int((shares < 1).sum())]:
        members = np.flatnonzero(part == number).tolist()
        wrong = [place for place in members if not is_right(inspected[place])]
        rows.append(
            {
                "label": inspected[members[0]].label,
                "pictures": len(members),
                "wrong": len(wrong),
                "score": float(np.mean([inspected[place].score for place in members])),
                "example": str(inspected[wrong[0]].path),
            }
        )
    return rows
