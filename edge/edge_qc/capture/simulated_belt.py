"""Draws a belt on which parts come by: what a camera above a moving line sees."""

from collections.abc import Iterator

import cv2
import numpy as np

from edge_qc.capture.simulated_part import SIDE_PX, DrawnPart
from edge_qc.domain import FloatArray, Pixels

_FULL_PX, _FADE_PX = 128, 21  # what is drawn around a part fades into the belt beyond its rim


class SimulatedBelt:
    """A belt that moves from left to right.

    Args:
        rng: the only source of chance.
        parts: a part and the bare belt before it, pixels of the picture, each drawn when it comes into sight.
        width_px: width of the picture.
        height_px: height of the picture.
        part_px: side of the square in which a part is laid.
        grey: of the belt, grey levels.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        parts: Iterator[tuple[DrawnPart, float]],
        *,
        width_px: int = 640,
        height_px: int = 480,
        part_px: int = SIDE_PX,
        grey: float = 60,
    ) -> None:
        self._rng, self._parts, self._part_px = rng, parts, part_px
        self._shape = height_px, width_px
        texture = rng.standard_normal((height_px, 512), dtype=np.float32)
        self._belt: FloatArray = np.asarray(cv2.GaussianBlur(texture, (0, 0), 2) * 10 + grey, np.float32)
        self._cover = _cover(part_px)
        self._lying: list[tuple[float, FloatArray]] = []  # where each begins on the belt, and its pixels
        self._drawn_px = 0.0
        self.ended = False

    def clear(self, travelled_px: float) -> bool:
        """Whether the last part has left the picture when the belt has travelled so far."""
        return self.ended and travelled_px > self._drawn_px + self._shape[1]

    def picture(self, travelled_px: float, light: float | FloatArray = 1.0, noise: float = 1.5) -> Pixels:
        """What the camera sees.

        Args:
            travelled_px: how far the belt has travelled since the beginning; never less than in the call before.
            light: gain, of all or of each pixel, 1 is plain.
            noise: deviation of the sensor's noise, grey levels.

        Returns:
            Shape (height, width), uint8.
        """
        self._draw_up_to(travelled_px)
        height, width = self._shape
        columns = (np.arange(width) - int(travelled_px)) % self._belt.shape[1]
        picture = self._belt[:, columns]
        top = (height - self._part_px) // 2
        for begin_px, pixels in self._lying:
            left = int(travelled_px - begin_px) - self._part_px
            inside = slice(max(0, left), max(0, min(width, left + self._part_px)))
            source = slice(inside.start - left, inside.stop - left)
            if inside.start < inside.stop:
                ground = picture[top : top + self._part_px, inside]
                ground += self._cover[:, source] * (pixels[:, source] - ground)
        picture *= light
        picture += self._rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(noise)
        return np.asarray(np.clip(picture, 0, 255), np.uint8)

    def _draw_up_to(self, travelled_px: float) -> None:
        while not self.ended and self._drawn_px <= travelled_px:
            following = next(self._parts, None)
            if following is None:
                self.ended = True
                return
            part, bare_px = following
            pixels = cv2.resize(part.pixels, (self._part_px, self._part_px), interpolation=cv2.INTER_AREA)
            self._lying.append((self._drawn_px + bare_px, np.asarray(pixels, np.float32)))
            self._drawn_px += bare_px + self._part_px
        self._lying = [one for one in self._lying if travelled_px - one[0] - self._part_px < self._shape[1]]


def _cover(part_px: int) -> FloatArray:
    """1 on the part, 0 in the corners of its square: (part_px, part_px) float32."""
    axis = (np.arange(part_px, dtype=np.float32) - (part_px - 1) / 2) * (SIDE_PX / part_px)
    radius = np.hypot(axis[None, :], axis[:, None])
    return np.asarray(np.clip(1 - (radius - _FULL_PX) / _FADE_PX, 0, 1), np.float32)
