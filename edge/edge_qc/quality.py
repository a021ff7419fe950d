"""Is this frame fit to be judged? The senseless must never be judged ok; the merely unusual is for the model."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_qc.bundle import Statistics
from edge_qc.domain import Frame
from edge_qc.features import LENGTH, RINGS, Features, Vector, measure
from edge_qc.sections import Quality


def ignore(_: Features) -> None:
    """Makes nothing of what was measured on a frame."""


@dataclass(frozen=True, slots=True)
class QualityFault:
    """What is wrong with a frame.

    Attributes:
        reason: one word: ``dark``, ``bright``, ``flat``, ``clipped``, ``blurred``, ``misaligned``, ``missing``,
            ``unlike``, or ``region``.
        detail: the figure and its bound.
    """

    reason: str
    detail: str


class QualityGate:
    """Says what makes a frame unfit to be judged. Called with the frame as the model gets it.

    Args:
        bounds: of the config.
        statistics: what the training pictures look like, from the bundle; None for a bundle that has none: then only
            ``dark``, ``bright``, ``flat`` and ``clipped`` are looked for.
        passed: told what was measured on each frame that is fit.
    """

    def __init__(
        self,
        bounds: Quality,
        statistics: Statistics | None = None,
        passed: Callable[[Features], object] = ignore,
    ) -> None:
        self._bounds, self._passed = bounds, passed
        self._likeness = None if statistics is None or not bounds.statistics else Likeness(statistics, bounds)

    def __call__(self, frame: Frame) -> QualityFault | None:
        """The first thing wrong with a frame, or None."""
        features = measure(frame.pixels)
        fault = self._light(features) or (None if self._likeness is None else self._likeness.fault(features))
        if fault is None:
            self._passed(features)
        return fault

    def _light(self, features: Features) -> QualityFault | None:
        """What light or lens alone make unfit, whatever the part."""
        level, contrast, bounds = features.level, features.contrast, self._bounds
        if level < bounds.dark_below:
            return QualityFault("dark", f"mean {level:.1f} grey levels, at least {bounds.dark_below:g} wanted")
        if level > bounds.bright_above:
            return QualityFault("bright", f"mean {level:.1f} grey levels, at most {bounds.bright_above:g} wanted")
        if contrast < bounds.flat_below:
            return QualityFault(
                "flat", f"standard deviation {contrast:.1f} grey levels, at least {bounds.flat_below:g} wanted"
            )
        if features.clipped > bounds.clipped_above:
            wanted = f"at most {bounds.clipped_above:.0%} wanted"
            return QualityFault("clipped", f"{features.clipped:.0%} of the pixels at 0 or 255, {wanted}")
        return None


class Likeness:
    """How like the training pictures a picture is.

    Args:
        statistics: of the training pictures.
        bounds: of the config; those that are null come from the statistics.
    """

    def __init__(self, statistics: Statistics, bounds: Quality) -> None:
        self._centre = np.array(statistics.centre)
        self._whitening = np.zeros((LENGTH, LENGTH))
        self._whitening[np.triu_indices(LENGTH)] = statistics.whitening
        self._profile = unit_profile(np.array(statistics.profile))
        self._blurred_below = _chosen(bounds.blurred_below, statistics.blurred_below)
        self._misaligned_above = _chosen(bounds.misaligned_above, statistics.misaligned_above)
        self._missing_below = _chosen(bounds.missing_below, statistics.missing_below)
        self._unlike_above = _chosen(bounds.unlike_above, statistics.unlike_above)

    def distance(self, features: Features) -> float:
        """Mahalanobis distance from the middle of the training pictures, squared; about 24 for one of them."""
        white = self._whitening @ (features.vector - self._centre)
        return float(white @ white)

    def fault(self, features: Features) -> QualityFault | None:
        """What tells the picture from the training pictures, or None."""
        if features.sharpness < self._blurred_below:
            return QualityFault(
                "blurred", f"sharpness {features.sharpness:.4f}, at least {self._blurred_below:.4f} wanted"
            )
        if features.offset > self._misaligned_above:
            return QualityFault(
                "misaligned",
                f"the picture's edges lie {features.offset:.0%} of half its side from the middle, "
                f"at most {self._misaligned_above:.0%} wanted",
            )
        match = float(unit_profile(features.profile) @ self._profile)
        if match < self._missing_below:
            return QualityFault(
                "missing",
                f"light from the middle out matches a part's by {match:.2f}, at least {self._missing_below:.2f} wanted",
            )
        distance = self.distance(features)
        if distance > self._unlike_above:
            return QualityFault(
                "unlike", f"{distance:.0f} away from the training pictures, at most {self._unlike_above:.0f} wanted"
            )
        return None


def _chosen(asked: float | None, noted: float) -> float:
    return noted if asked is None else asked


def unit_profile(profile: Vector) -> Vector:
    """A profile of ``RINGS`` rings without its mean, of unit length: a product of two is their correlation.

    Zeros where it is flat.
    """
    bare = profile - profile.sum() / RINGS
    length = math.sqrt(bare @ bare)
    return bare / length if length > 1e-6 else np.zeros_like(bare)
