"""Slow drift of the light, the contrast and the sharpness: an exponentially weighted moving-average control chart.

Roberts, "Control Chart Tests Based on Geometric Moving Averages", Technometrics 1 (1959) 239-250: of the values x of
one statistic, z = memory * x + (1 - memory) * z is watched, whose standard deviation in the long run is that of x times
sqrt(memory / (2 - memory)). Two things that the textbook leaves out are in the limits. Frames are not independent
(parts come in batches, the sun goes round), so the deviation is taken from means of runs of the reference, not from
single frames, where those vary more. And the reference is itself only an estimate: its own uncertainty is added.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_qc.features import Features
from edge_qc.sections import Drift

WATCHED = ("level", "contrast", "sharpness")

_RUNS = 20  # into which the reference is cut, to see how much more its means vary than independent frames would
_WELL_AGAIN = 0.5  # of the limit: an alarm that came and went with each frame would be no help


@dataclass(frozen=True, slots=True)
class Reference:
    """What a statistic was when all was well.

    Attributes:
        mean: of the reference frames.
        deviation: of a single frame, so large that its moving average varies as that of the reference did.
        frames: how many they were.
    """

    mean: float
    deviation: float
    frames: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Reference":
        """The reference that some frames make, 50 at least, in the order in which they came."""
        array = np.asarray(values, np.float64)
        length = len(array) // _RUNS
        runs: npt.NDArray[np.float64] = array[: length * _RUNS].reshape(_RUNS, length).mean(axis=1)
        by_runs = float(runs.std(ddof=1)) * math.sqrt(length)
        return cls(float(array.mean()), max(float(array.std(ddof=1)), by_runs), len(array))

    def limit(self, settings: Drift) -> float:
        """How far the moving average may go from the mean."""
        of_average_and_mean = math.sqrt(settings.memory / (2 - settings.memory) + 1 / self.frames)
        sigmas = settings.limit_sigmas * self.deviation * of_average_and_mean
        return max(sigmas, settings.least_change * abs(self.mean))


@dataclass(frozen=True, slots=True)
class Drifted:
    """A statistic that has left its limits, or has come back.

    Attributes:
        statistic: one of ``WATCHED``.
        out: whether it has left them.
        detail: a sentence with the figures.
    """

    statistic: str
    out: bool
    detail: str


class DriftWatch:
    """Follows the statistics of the judged frames. Pure: it keeps no file and knows no clock.

    Args:
        settings: of the config.
        references: of an earlier run; None to learn them.
        learned: told the references once they are learned.
        changed: told of each statistic that leaves its limits or comes back.
    """

    def __init__(
        self,
        settings: Drift,
        *,
        references: dict[str, Reference] | None = None,
        learned: Callable[[dict[str, Reference]], object] = lambda _: None,
        changed: Callable[[Drifted], object] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._references, self._learned, self._changed = references, learned, changed
        self._learning: list[tuple[float, ...]] = []
        self._average = {} if references is None else {name: references[name].mean for name in WATCHED}
        self._out: set[str] = set()

    @property
    def out(self) -> frozenset[str]:
        """The statistics that are out of their limits now."""
        return frozenset(self._out)

    def add(self, features: Features) -> None:
        """Takes the features of a judged frame."""
        if not self._settings.enabled:
            return
        values = features.level, features.contrast, features.sharpness
        if self._references is None:
            self._learn(values)
            return
        for name, value in zip(WATCHED, values, strict=True):
            self._average[name] += self._settings.memory * (value - self._average[name])
            self._compare(name, self._references[name])

    def _learn(self, values: tuple[float, ...]) -> None:
        self._learning.append(values)
        if len(self._learning) == self._settings.learn_frames:
            columns = zip(WATCHED, zip(*self._learning, strict=True), strict=True)
            self._references = {name: Reference.of(column) for name, column in columns}
            self._average = {name: reference.mean for name, reference in self._references.items()}
            self._learning.clear()
            self._learned(self._references)

    def _compare(self, name: str, reference: Reference) -> None:
        limit = reference.limit(self._settings)
        away = abs(self._average[name] - reference.mean)
        was_out = name in self._out
        if bool(away > (_WELL_AGAIN * limit if was_out else limit)) is was_out:
            return
        (self._out.discard if was_out else self._out.add)(name)
        says = "is back at" if was_out else "has drifted to"
        self._changed(
            Drifted(
                name,
                not was_out,
                f"{name} {says} {self._average[name]:.4g}; it was {reference.mean:.4g}, "
                f"and {reference.mean - limit:.4g} to {reference.mean + limit:.4g} is within limits",
            )
        )
