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
RATES = (0.001, 0.005, 0.01, 0.02, 0.05)  # shares of defective parts that come in, for escapes in a million
FEWEST_PARTS, FEWEST_EVENTS = 30, 5  # that a bootstrap needs: it can draw no other than these


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
        ``n`` parts; ``right``: those of which more than half of the pictures are right, and ``right_in_most`` the same
        with its ``bootstrap``; ``mean_accuracy``: the mean of the parts' own accuracies; ``escape`` and ``overkill`` of
        parts, with intervals as ``proportion`` makes them: the chance for a part that is seen once; ``escaped_parts``
        and ``overkill_parts``: whole parts (see ``_whole``); ``escape_ppm`` (see ``_ppm``); ``bootstrap``: intervals of
        the same, from drawing parts anew, ``by_picture`` for the figures that count pictures; ``wrong``: every part
        with a wrong picture, the worst first.
    """
    kept = [place for place, judgement in enumerate(judgements) if judgement.outcome is not Outcome.NOT_INSPECTED]
    inspected = [judgements[place] for place in kept]
    names, part = np.unique(np.asarray(groups)[np.array(kept, np.int64)], return_inverse=True)
    flags = _flags(inspected, ok_labels)
    counts = {name: np.asarray(np.bincount(part, flag, len(names)), np.float64) for name, flag in flags.items()}
    shares = counts["right"] / counts["all"]
    in_most = shares > 0.5
    counts["right in most"], counts["wrong in most"] = in_most.astype(np.float64), (~in_most).astype(np.float64)
    escape, overkill = _of_parts(counts, "escape", "defective"), _of_parts(counts, "overkill", "good")
    right = proportion(int(counts["right in most"].sum()), len(names))
    drawn = _drawn_anew(counts, defect_rate, seed, resamples) if resamples else {}
    return {
        "n": len(names),
        "right": right,
        "right_in_most": {**right, "bootstrap": drawn.pop("right_in_most", None)},
        "mean_accuracy": float(shares.mean()) if inspected else None,
        "escape": escape,
        "overkill": overkill,
        "escaped_parts": _whole(counts, "escape", "defective"),
        "overkill_parts": _whole(counts, "overkill", "good"),
        "escape_ppm": {
            **_ppm(counts, escape, defect_rate),
            "at": [row for row in (_ppm(counts, escape, rate) for rate in RATES) if row["ppm"] is not None],
        },
        **({"bootstrap": drawn} if drawn else {}),
        "wrong": _wrong_parts(inspected, part, shares, names, ok_labels),
    }


def _flags(inspected: Sequence[Judgement], ok_labels: Sequence[str]) -> dict[str, Flags]:
    def flag(values: Sequence[bool]) -> npt.NDArray[np.bool_]:
        return np.array(values, bool)

    good = flag([judgement.label in ok_labels for judgement in inspected])
    ok = flag([judgement.outcome is Outcome.OK for judgement in inspected])
    reject = flag([judgement.outcome is Outcome.REJECT for judgement in inspected])
    right = flag([is_right(judgement) for judgement in inspected])
    return {
        "all": np.ones(len(inspected), bool),
        "right": right,
        "wrong": ~right,
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


def _whole(counts: dict[str, Floats], what: str, of: str) -> Figures:
    """``of`` so many parts, to how many it happens in ``any`` of their pictures, in ``most``, in ``all``."""
    shares, has = _share(counts, what, of)
    shares = shares[has > 0]
    return {
        "of": len(shares),
        "any": int((shares > 0).sum()),
        "most": int((shares > 0.5).sum()),
        "all": int((shares == 1).sum()),
    }


def _ppm(counts: dict[str, Floats], escape: Figures, defect_rate: float) -> Figures:
    """Escapes among a million shipped parts, by part; parts that are unsure are not shipped.

    ``ci95`` lies at the ends of the escape rate's interval, the share of good parts that are shipped held as it is.
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
    """The bootstrap's 95 % intervals.

    None where it would claim more than its parts can tell: of fewer than ``FEWEST_PARTS``, or where fewer than
    ``FEWEST_EVENTS`` of them show what is counted.
    """
    columns = dict(counts)
    for what, of in (("right", "all"), ("escape", "defective"), ("overkill", "good"), ("shipped", "good")):
        columns[f"{what} share"], columns[f"{of} parts"] = _share(counts, what, of)
    sums = bootstrap(columns, (counts["defective"] > 0).astype(np.int64), seed, resamples)

    def enough(of: str, event: str) -> bool:
        return bool((counts[of] > 0).sum() >= FEWEST_PARTS and (counts[event] > 0).sum() >= FEWEST_EVENTS)

    def interval(what: str, over: str, of: str, event: str) -> list[float] | None:
        return middle_95(sums[what] / sums[over]) if enough(of, event) else None

    ppm = None
    if enough("defective", "escape") and enough("good", "shipped"):
        escape, shipped = sums["escape share"] / sums["defective parts"], sums["shipped share"] / sums["good parts"]
        ppm = middle_95(np.array([escape_ppm(defect_rate, e, g) for e, g in zip(escape, shipped, strict=True)]))
    return {
        "resamples": resamples,
        "seed": seed,
        "right_in_most": interval("right in most", "all parts", "all", "wrong in most"),
        "accuracy": interval("right share", "all parts", "all", "wrong"),
        "escape": interval("escape share", "defective parts", "defective", "escape"),
        "overkill": interval("overkill share", "good parts", "good", "overkill"),
        "escape_ppm": ppm,
        "by_picture": {
            "accuracy": interval("right", "all", "all", "wrong"),
            "escape": interval("escape", "defective", "defective", "escape"),
            "overkill": interval("overkill", "good", "good", "overkill"),
        },
    }


def _wrong_parts(
    inspected: Sequence[Judgement], part: IntArray, shares: Floats, names: IntArray, ok_labels: Sequence[str]
) -> list[Figures]:
    """A row for each part with a wrong picture; ``example`` is its worst, ``part`` its number in the run."""
    rows = []
    for number in np.argsort(shares, kind="stable")[: int((shares < 1).sum())]:
        members = [inspected[place] for place in np.flatnonzero(part == number).tolist()]
        wrong = worst_first(members, ok_labels)
        rows.append(
            {
                "part": int(names[number]),
                "label": members[0].label,
                "pictures": len(members),
                "wrong": len(wrong),
                "judged": dict(Counter(judgement.outcome.value for judgement in members)),
                "score": float(np.mean([judgement.score for judgement in members])),
                "example": str(wrong[0].path),
            }
        )
    return rows
