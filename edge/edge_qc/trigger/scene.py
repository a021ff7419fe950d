"""What lies in front of the camera and was not there before: background difference on a reduced picture. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_qc.domain import FloatArray, Pixels
from edge_qc.region import Region

LONG_SIDE_PX = 160  # of the reduced picture: 640x480 becomes 160x120, which a Raspberry Pi looks through in under 1 ms
FOLLOW_S = 3.0  # time constant with which the background follows the light
FOLLOW_LEAST, FOLLOW_MOST = 0.005, 0.2  # share a frame, for videos that are read faster or slower than they were taken
DARK_LEVEL = 12.0  # mean grey level under which nothing can be seen, or learned
FULL_SHARE = 0.8  # covered to this share, the region shows no background that a part could be told from
TRACE_SHARE = 0.25  # of the least area of a part: what is smaller is not even followed
_CLOSE = np.ones((5, 5), np.uint8)
_GRADIENT = np.ones((3, 3), np.uint8)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """Something in the region that is not background.

    Attributes:
        box: left, top, right, bottom within the region, pixels of the picture.
        area_share: its area, holes filled, as a share of the region's, 0 to 1.
        touches: for left, top, right, bottom: whether it reaches that side of the region.
        outline: shape (n, 1, 2), int32: its contour in the reduced picture.
    """

    box: Box
    area_share: float
    touches: tuple[bool, bool, bool, bool]
    outline: npt.NDArray[np.int32]


class Scene:
    """Learns the background of a region and finds what is not background.

    Light that changes everywhere by the same factor (a lamp, the exposure) is taken out at once; light that changes
    from place to place is followed within seconds. Under a part the background is remembered, however long it stays.

    Args:
        region: where in the picture it looks; None is all of it.
        difference_levels: difference from the background, in grey levels, from which a pixel belongs to something.
        min_area_share: area of the smallest part, as a share of the region's.
    """

    def __init__(self, region: Region | None, difference_levels: float, min_area_share: float) -> None:
        self.region, self._threshold = region, difference_levels
        self._trace_share = min_area_share * TRACE_SHARE
        self._background: FloatArray | None = None
        self._shape: tuple[int, ...] = ()
        self._covered: Pixels = np.zeros((1, 1), np.uint8)
        self._small: Pixels = self._covered
        self._at_ns = 0
        self.blind = ""

    def view(self, pixels: Pixels) -> Pixels:
        """The region of a picture.

        Raises:
            PictureError: if the region reaches beyond the picture.
        """
        return pixels if self.region is None else self.region.of(pixels)

    def look(self, view: Pixels, at_ns: int) -> list[Blob]:
        """What is in the region and is not background, the largest first.

        Sets ``blind``: why nothing can be seen in this picture (``dark``, ``covered``), or empty.

        Args:
            view: what ``view`` gives. One of another size begins the background anew.
            at_ns: when it was taken, monotonic, nanoseconds.
        """
        scale = min(1.0, LONG_SIDE_PX / max(view.shape))
        size = max(1, round(view.shape[1] * scale)), max(1, round(view.shape[0] * scale))
        small = np.asarray(cv2.resize(view, size, interpolation=cv2.INTER_AREA), np.uint8)
        self.blind = "dark" if cv2.mean(small)[0] < DARK_LEVEL else ""
        if self.blind:
            return []
        if self._background is None or self._shape != view.shape:
            self._background, self._shape = small.astype(np.float32), view.shape
            self._covered, self._at_ns = np.zeros_like(small), at_ns
        gain = self._gain(small, self._background)
        expected = np.asarray(cv2.convertScaleAbs(self._background, alpha=gain), np.uint8)
        outlines = self._real(self._outlines(small, expected), small, expected)
        self._remember(small, expected, self._background, outlines, at_ns)
        self.blind = "covered" if cv2.mean(self._covered)[0] > 255 * FULL_SHARE else ""
        zoom = view.shape[1] / size[0], view.shape[0] / size[1]
        blobs = [_blob(outline, size, zoom) for outline in outlines]
        return sorted(blobs, key=lambda blob: -blob.area_share)

    def absorb(self, blob: Blob) -> None:
        """From now on this belongs to the background: a strap that hangs in, a new light."""
        if self._background is not None:
            inside = _drawn([blob.outline], self._small.shape, cv2.FILLED) > 0
            self._background[inside] = self._small[inside]

    def _gain(self, small: Pixels, background: FloatArray) -> float:
        """How much brighter the light is than the background's: the median over what is not covered."""
        every = slice(None, None, 2), slice(None, None, 2)
        seen = (self._covered[every] == 0) & (background[every] > DARK_LEVEL)
        if int(np.count_nonzero(seen)) * 10 < seen.size:
            return 1.0
        return float(np.median(small[every][seen] / background[every][seen]))

    def _outlines(self, small: Pixels, expected: Pixels) -> list[npt.NDArray[np.int32]]:
        """Contours of what differs. Holes are filled: a part whose face is as grey as the belt still has its rim."""
        _, mask = cv2.threshold(cv2.absdiff(small, expected), self._threshold, 255, cv2.THRESH_BINARY)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _CLOSE)
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        least = self._trace_share * small.size
        return [np.asarray(one, np.int32) for one in found if cv2.contourArea(one) >= least]

    def _real(
        self, outlines: Sequence[npt.NDArray[np.int32]], small: Pixels, expected: Pixels
    ) -> list[npt.NDArray[np.int32]]:
        """Without ghosts: where the edge is in the background and not in the picture, something has *left*."""
        if not outlines:
            return []
        now, before = (cv2.morphologyEx(one, cv2.MORPH_GRADIENT, _GRADIENT) for one in (small, expected))
        real = []
        for outline in outlines:
            edge = _drawn([outline], small.shape, 2)
            if cv2.mean(before, edge)[0] > 2 * cv2.mean(now, edge)[0] + 3 and self._background is not None:
                inside = cv2.dilate(_drawn([outline], small.shape, cv2.FILLED), _CLOSE) > 0
                self._background[inside] = small[inside]
            else:
                real.append(outline)
        return real

    def _remember(
        self,
        small: Pixels,
        expected: Pixels,
        background: FloatArray,
        outlines: Sequence[npt.NDArray[np.int32]],
        at_ns: int,
    ) -> None:
        """Follows the light: where the background is seen by what is seen, where it is covered by the common gain."""
        self._covered = np.asarray(cv2.dilate(_drawn(outlines, small.shape, cv2.FILLED), _CLOSE), np.uint8)
        share = 1 - math.exp(-max(0, at_ns - self._at_ns) / 1e9 / FOLLOW_S)
        self._small, self._at_ns = small, at_ns
        target = cv2.copyTo(expected, self._covered, small.copy())
        cv2.accumulateWeighted(target, background, min(max(share, FOLLOW_LEAST), FOLLOW_MOST))


def _drawn(outlines: Sequence[npt.NDArray[np.int32]], shape: tuple[int, ...], thickness: int) -> Pixels:
    canvas = np.zeros(shape, np.uint8)
    cv2.drawContours(canvas, outlines, -1, 255, thickness)
    return canvas


def _blob(outline: npt.NDArray[np.int32], size: tuple[int, int], zoom: tuple[float, float]) -> Blob:
    x, y, width, height = cv2.boundingRect(outline)
    right, bottom = x + width, y + height
    box = x * zoom[0], y * zoom[1], right * zoom[0], bottom * zoom[1]
    touches = (x <= 1, y <= 1, right >= size[0] - 1, bottom >= size[1] - 1)
    return Blob(box, cv2.contourArea(outline) / (size[0] * size[1]), touches, outline)
