"""Is this frame fit to be judged? A picture without information must never be judged ok."""

from dataclasses import dataclass

import cv2

from edge_qc.domain import Frame


@dataclass(frozen=True, slots=True)
class QualityFault:
    """What is wrong with a frame.

    Attributes:
        reason: one word: ``dark``, ``bright`` or ``flat``.
        detail: the figure and its bound.
    """

    reason: str
    detail: str


def check_quality(frame: Frame, dark_below: float, bright_above: float, flat_below: float) -> QualityFault | None:
    """The first thing wrong with a frame, or None.

    Args:
        frame: the frame.
        dark_below: a mean under this is ``dark``; grey levels, 0 to 255.
        bright_above: a mean over this is ``bright``; grey levels, 0 to 255.
        flat_below: a standard deviation under this is ``flat``: no part, no light or no lens; grey levels.
    """
    mean, deviation = cv2.meanStdDev(frame.pixels)
    level, contrast = float(mean[0, 0]), float(deviation[0, 0])
    if level < dark_below:
        return QualityFault("dark", f"mean {level:.1f} grey levels, at least {dark_below:g} wanted")
    if level > bright_above:
        return QualityFault("bright", f"mean {level:.1f} grey levels, at most {bright_above:g} wanted")
    if contrast < flat_below:
        return QualityFault("flat", f"standard deviation {contrast:.1f} grey levels, at least {flat_below:g} wanted")
    return None
