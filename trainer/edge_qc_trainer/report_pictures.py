"""Thumbnails for the report: a picture, and where the model saw the evidence."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge_qc.domain import FloatArray, Pixels
from edge_qc.errors import PictureError
from edge_qc.picture import read_picture
from edge_qc_trainer.evaluate import Judgement

_SIDE_PX = 220
_HOT = np.array([0, 94, 213], np.float32)  # blue, green, red


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A judged picture for the page.

    Attributes:
        judgement: what was said of it.
        picture: a data URI: the picture, resized.
        overlay: a data URI: the same with its heatmap; None where the model gives none.
    """

    judgement: Judgement
    picture: str
    overlay: str | None


def thumbnails(judgements: Sequence[Judgement], most: int) -> list[Thumbnail]:
    """Those of the first ``most`` judgements whose files can still be read."""
    found = []
    for judgement in judgements[:most]:
        try:
            pixels = read_picture(judgement.path)
        except (PictureError, OSError):
            continue
        overlay = None if judgement.heatmap is None else _jpeg(overlaid(pixels, judgement.heatmap))
        found.append(Thumbnail(judgement, _jpeg(pixels), overlay))
    return found


def overlaid(pixels: Pixels, heatmap: FloatArray) -> Pixels:
    """A picture tinted where the heatmap is hot.

    Args:
        pixels: shape (height, width), uint8.
        heatmap: shape (rows, columns), float32, 0 to 1.

    Returns:
        Shape (height, width, 3), uint8, blue, green, red.
    """
    rows, columns = pixels.shape
    heat = cv2.resize(heatmap, (columns, rows), interpolation=cv2.INTER_LINEAR)[..., None]
    cover = 0.8 * np.clip(heat, 0, 1) ** 2  # what is lukewarm must not veil the picture
    return np.asarray(np.rint(pixels[..., None] * (1 - cover) + _HOT * cover), np.uint8)


def _jpeg(pixels: Pixels) -> str:
    scale = _SIDE_PX / max(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
