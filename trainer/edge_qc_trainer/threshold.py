"""Where ok ends and reject begins, from what matters: the escapes that are bearable, or what each mistake costs.

The scores are those of parts that the model was not fitted to, by the int8 model and the device's code. They are
weighed by part: all pictures of a part together weigh 1, because the line sees a part once, and copies are no further
evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_qc.bundle import Thresholds
from edge_qc_trainer.dataset import Flags, IntArray
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.evaluate import Judgement
from edge_qc_trainer.intervals import DEFECT_RATE, Figures, Floats, parts_needed, proportion, upper_bound
from edge_qc_trainer.metrics import inspected_of
from edge_qc_trainer.report import percent

CONFIDENCE = 0.95
_LEAST_ODDS = 1e-9  # a score of 0 has no log-odds


@dataclass(frozen=True, slots=True)
class Policy:
    """What the thresholds are chosen for. Neither bound nor costs: both stay at 0.5.

    Attributes:
        max_escape_rate: the share of defective parts that may be judged ok.
        cost_escape: of a defective part judged ok, in any unit.
        cost_overkill: of a good part rejected, in the same unit.
        cost_unsure: of a part that somebody must look at; None: no part is left unsure.
        defect_rate: share of defective parts that come in.

    Raises:
        DataError: if both ways are asked for, or a cost is missing.
    """

    max_escape_rate: float | None = None
    cost_escape: float | None = None
    cost_overkill: float | None = None
    cost_unsure: float | None = None
    defect_rate: float = DEFECT_RATE

    def __post_init__(self) -> None:
        costs = self.cost_escape, self.cost_overkill
        if self.max_escape_rate is not None and (*costs, self.cost_unsure) != (None, None, None):
            raise DataError(
                "--max-escape-rate and the costs exclude each other",
                expected="one way to choose the thresholds",
                got="two",
                remedy="Give --max-escape-rate, or --cost-escape and --cost-overkill",
            )
        if (None in costs and costs != (None, None)) or (costs == (None, None) and self.cost_unsure is not None):
            raise DataError(
                "the thresholds need the cost of both mistakes",
                expected="--cost-escape and --cost-overkill",
                got="one of them, or --cost-unsure alone",
                remedy="Give both; what counts is their ratio",
            )

    def __bool__(self) -> bool:
        """Whether there is anything to choose."""
        return self.max_escape_rate is not None or self.cost_escape is not None


@dataclass(frozen=True, slots=True)
class Chosen:
    """Thresholds and why.

    Attributes:
        thresholds: the two.
        figures: what they do on the parts that chose them: ``rule`` (a sentence), ``escape``, ``overkill``, ``unsure``
            (of all parts), ``shown`` (whether there were enough parts to show the escape rate that was asked for).
    """

    thresholds: Thresholds
    figures: Figures


@dataclass(frozen=True, slots=True, eq=False)
class _Cuts:
    """What lies below each place where the sorted scores can be cut.

    Attributes:
        scores: shape (n,), float64: the different scores, rising.
        defective: shape (n + 1,): how many defective parts, counted by shares, lie below the cut.
        good: shape (n + 1,): the same of good ones.
        parts: how many defective parts there are, and how many good ones.
    """

    scores: Floats
    defective: Floats
    good: Floats
    parts: tuple[int, int]

    @property
    def possible(self) -> slice:
        """The cuts that a threshold can make: none lies above a score of 1, which is always rejected."""
        return slice(len(self.scores) + int(self.scores[-1] < 1))

    def threshold(self, cut: int) -> float:
        """Half-way, in log-odds, between the scores on either side: what is new lies at neither's edge."""
        if cut == 0:
            return 0.0
        if cut == len(self.scores):
            return 1.0
        below, above = self.scores[cut - 1], self.scores[cut]
        odds = np.clip([below, above], _LEAST_ODDS, 1 - _LEAST_ODDS)
        middle = 1 / (1 + np.exp(-np.log(odds / (1 - odds)).mean()))
        # A score under the threshold is ok, so the threshold itself must not come down to the score below it.
        return float(np.clip(middle, np.nextafter(below, 1), above))


def choose(judgements: Sequence[Judgement], groups: IntArray, ok_labels: Sequence[str], policy: Policy) -> Chosen:
    """The thresholds for a policy.

    ``max_escape_rate``: the most good parts pass for which the upper bound (one-sided, 95 %) of the escape rate is at
    most that. Where the parts are too few for any bound that low, none of them may escape, and the figures say that
    the rate was not shown. What is likelier defective than good is rejected; between the two a part is unsure.

    Costs: the least expected cost of a part, where a share ``defect_rate`` comes in defective.

    Args:
        judgements: on parts that the model was not fitted to.
        groups: shape (len(judgements),), int64: the part of each.
        ok_labels: the good classes.
        policy: what matters.

    Raises:
        DataError: if no part of one of the two kinds was inspected.
    """
    cuts = _cuts(judgements, groups, ok_labels)
    if policy.max_escape_rate is not None:
        thresholds, rule, shown = _by_escapes(cuts, policy.max_escape_rate)
    elif policy:
        thresholds, rule, shown = _by_costs(cuts, policy), _cost_rule(policy), True
    else:
        thresholds, rule, shown = Thresholds(), "Both at 0.5: nothing else was asked for.", True
    ok, kept = (int(np.searchsorted(cuts.scores, value)) for value in (thresholds.ok_below, thresholds.reject_from))
    total = sum(cuts.parts)
    unsure = cuts.defective[kept] - cuts.defective[ok] + cuts.good[kept] - cuts.good[ok]
    return Chosen(
        thresholds,
        {
            **thresholds.model_dump(),
            "rule": rule,
            "shown": shown,
            "escape": proportion(_tidy(cuts.defective[ok]), cuts.parts[0]),
            "overkill": proportion(_tidy(cuts.good[-1] - cuts.good[kept]), cuts.parts[1]),
            "unsure": proportion(_tidy(unsure), total),
        },
    )


def _tidy(count: float) -> float:
    """Without the dust of adding thirds, which would leave a count just over the whole or under nothing."""
    return max(0.0, round(float(count), 9))


def _cuts(judgements: Sequence[Judgement], groups: IntArray, ok_labels: Sequence[str]) -> _Cuts:
    kept = [place for place, judgement in enumerate(judgements) if judgement.score is not None]
    inspected = inspected_of(judgements)
    good = np.array([judgement.label in ok_labels for judgement in inspected], bool)
    if good.all() or not good.any():
        raise DataError(
            "the thresholds cannot be chosen",
            expected="good and defective parts that the model was not fitted to",
            got=f"{int(good.sum())} good and {int((~good).sum())} defective pictures",
        )
    parts = np.asarray(groups)[kept]
    scores = np.array([judgement.score for judgement in inspected], np.float64)
    different, place = np.unique(scores, return_inverse=True)
    defective, passed = (_below(place, parts, flag, len(different)) for flag in (~good, good))
    return _Cuts(different, defective, passed, (len(np.unique(parts[~good])), len(np.unique(parts[good]))))


def _below(place: IntArray, parts: IntArray, of_kind: Flags, cuts: int) -> Floats:
    _, number, pictures = np.unique(parts[of_kind], return_inverse=True, return_counts=True)
    shares = np.bincount(place[of_kind], 1 / pictures[number], cuts)
    return np.concatenate([[0.0], np.cumsum(shares)])


def _by_escapes(cuts: _Cuts, most: float) -> tuple[Thresholds, str, bool]:
    parts, needed = cuts.parts[0], parts_needed(most)
    shown = parts >= needed
    escaped = np.round(cuts.defective[cuts.possible], 9)
    bounds = np.array([upper_bound(count, parts, CONFIDENCE) for count in escaped])
    allowed = bounds <= most if shown else escaped == 0
    # The lowest of those cuts that let the most good parts pass: a higher one would only add escapes.
    best = int(np.argmax(np.where(allowed, np.round(cuts.good[cuts.possible], 9), -1)))
    ok_below = cuts.threshold(best)
    rule = f"As many good parts pass as leave the escape rate at most {100 * most:g} %: "
    if shown:
        bound = percent(bounds[best])
        rule += f"{escaped[best]:.4g} of {parts} defective parts escape, upper bound (one-sided, 95 %) {bound}."
    else:
        rule += (
            f"{parts} defective parts cannot show this; it takes {needed}. So none of them escapes, which shows "
            f"at most {percent(bounds[0])} (one-sided, 95 %)."
        )
    return Thresholds(ok_below=ok_below, reject_from=max(0.5, ok_below)), rule, shown


def _by_costs(cuts: _Cuts, policy: Policy) -> Thresholds:
    escape, overkill = policy.cost_escape or 0.0, policy.cost_overkill or 0.0
    defective = cuts.defective[cuts.possible] / cuts.parts[0] * policy.defect_rate
    good = cuts.good[cuts.possible] / cuts.parts[1] * (1 - policy.defect_rate)
    if policy.cost_unsure is None:
        cut = int(np.argmin(np.round(escape * defective - overkill * good, 12)))
        return Thresholds(ok_below=cuts.threshold(cut), reject_from=cuts.threshold(cut))
    # The cost of two cuts is a sum of one term for each: the best lower one for every upper one is a running minimum.
    unsure = policy.cost_unsure * (defective + good)
    lower, upper = np.round(escape * defective - unsure, 12), np.round(unsure - overkill * good, 12)
    best = int(np.argmin(np.minimum.accumulate(lower) + upper))
    return Thresholds(ok_below=cuts.threshold(int(np.argmin(lower[: best + 1]))), reject_from=cuts.threshold(best))


def _cost_rule(policy: Policy) -> str:
    unsure = "none is left unsure" if policy.cost_unsure is None else f"{policy.cost_unsure:g} for an unsure one"
    return (
        f"The least expected cost of a part, at {policy.cost_escape:g} for an escape, {policy.cost_overkill:g} for "
        f"overkill, {unsure}, where {100 * policy.defect_rate:g} % come in defective."
    )
