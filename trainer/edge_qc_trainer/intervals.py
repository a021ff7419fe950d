"""How far a figure can be trusted: exact intervals of a share, and a bootstrap that draws parts, not pictures."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from edge_qc_trainer.dataset import IntArray

Figures = dict[str, Any]
Floats = npt.NDArray[np.float64]
RESAMPLES = 2000
DEFECT_RATE = 0.02  # share of defective parts that come in, where nobody says better
_AT_ONCE = 100  # resamples a block: 10,000 parts take 8 MB


def proportion(count: float, of: int) -> Figures:
    """``count`` of ``of`` with the exact 95 % interval of its rate (Clopper and Pearson, Biometrika 1934).

    ``count`` need not be whole: a part of which a third of the pictures escape counts a third. Shares between 0 and 1
    spread less than yes and no of the same mean, so the interval is then too wide rather than too narrow.
    """
    if of == 0:
        return {"count": 0, "of": 0, "rate": 0.0, "ci95": [0.0, 1.0]}
    low = float(beta.ppf(0.025, count, of - count + 1)) if count > 0 else 0.0
    return {"count": count, "of": of, "rate": count / of, "ci95": [low, upper_bound(count, of, 0.975)]}


def upper_bound(count: float, of: int, confidence: float) -> float:
    """The rate that is exceeded with a probability of at most ``1 - confidence``, as ``proportion`` counts."""
    return float(beta.ppf(confidence, count + 1, of - count)) if count < of else 1.0


def parts_needed(rate: float, confidence: float = 0.95) -> int:
    """How many parts without a single miss it takes to show that the rate of misses is at most ``rate``."""
    return int(np.ceil(np.log(1 - confidence) / np.log1p(-rate) - 1e-9)) if rate < 1 else 1


def escape_ppm(defect_rate: float, escape: float, good_shipped: float) -> float:
    """Defective parts among a million that are shipped.

    ``1e6 p e / (p e + (1 - p) g)``: of the defective parts, a share ``p`` of all, a share ``e`` is judged ok; of the
    good ones a share ``g``, which is 1 less the overkill where no part is unsure.

    Args:
        defect_rate: share of defective parts that come in, 0 to 1.
        escape: share of the defective ones that is judged ok.
        good_shipped: share of the good ones that is judged ok.

    Returns:
        0 where nothing is shipped.
    """
    defective = defect_rate * escape
    shipped = defective + (1 - defect_rate) * good_shipped
    return 1e6 * defective / shipped if shipped else 0.0


def bootstrap(columns: dict[str, Floats], strata: IntArray, seed: int, resamples: int = RESAMPLES) -> dict[str, Floats]:
    """Sums over parts, drawn anew with replacement within each stratum (Davison and Hinkley, 1997, section 3.2).

    Copies of a part are right or wrong together: drawn as pictures they would pass for so many different parts.

    Args:
        columns: what to sum, each of shape (parts,).
        strata: shape (parts,), int64: within which parts are drawn, so that no draw lacks a class.
        seed: of the draws.
        resamples: how many draws.

    Returns:
        For each column, shape (resamples,): its sum in each draw.
    """
    table, rng = np.stack(list(columns.values()), axis=1), np.random.default_rng(seed)
    sums = np.zeros((resamples, table.shape[1]))
    for stratum in np.unique(strata):
        members = table[strata == stratum]
        chances = np.full(len(members), 1 / len(members))
        for start in range(0, resamples, _AT_ONCE):
            block = sums[start : start + _AT_ONCE]
            block += rng.multinomial(len(members), chances, size=len(block)) @ members
    return dict(zip(columns, sums.T, strict=True))


def middle_95(values: Floats) -> list[float]:
    """The 2.5 % and 97.5 % percentiles."""
    low, high = np.percentile(values, (2.5, 97.5))
    return [float(low), float(high)]
