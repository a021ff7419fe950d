"""Thumbnails for the report: a picture, and where the model saw the evidence."""

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from edge_qc.domain import FloatArray, Pixels
from edge_qc.errors import PictureError
from edge_qc.picture import read_picture
from edge_qc_trainer.evaluate import Judgement

STANDS_OUT = 0.2  # a place that speaks less for a defect than this is nothing to look at by itself
_SIDE_PX = 260
_HOT = np.array([0, 94, 213], np.float32)  # blue, green, red
_INK, _HALO = (0, 0, 0), (255, 255, 255)


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

    @property
    def peak(self) -> float | None:
        """How strongly the loudest place speaks for a defect, 0 to 1; None where there is no heatmap."""
        return None if self.judgement.heatmap is None else float(self.judgement.heatmap.max())


def thumbnail(judgement: Judgement) -> Thumbnail | None:
    """A judgement's picture; None if its file can no longer be read."""
    try:
        pixels = shrunk(read_picture(judgement.path), _SIDE_PX)
    except (PictureError, OSError):
        return None
    overlay = None if judgement.heatmap is None else data_uri(overlaid(pixels, judgement.heatmap), 80)
    return Thumbnail(judgement, data_uri(pixels, 80), overlay)


def overlaid(pixels: Pixels, heatmap: FloatArray) -> Pixels:
    """A picture tinted by its heatmap, with a contour at half of the peak and a cross on the peak.

    The heatmap is scaled to its own peak: the evidence of many weak places adds up to a score, so a reject need not
    have a single strong one. The lines are dark with a light halo: they show without colour, on any grey.

    Args:
        pixels: shape (height, width), uint8.
        heatmap: shape (rows, columns), float32, 0 to 1.

    Returns:
        Shape (height, width, 3), uint8, blue, green, red; the picture as it is where the heatmap is 0 everywhere.
    """
    rows, columns = pixels.shape
    grey = np.repeat(pixels[..., None], 3, axis=2)
    peak = float(heatmap.max())
    if peak <= 0:
        return grey
    heat = np.clip(cv2.resize(heatmap / peak, (columns, rows), interpolation=cv2.INTER_CUBIC), 0, 1)
    cover = 0.5 * heat[..., None] ** 2  # what is lukewarm must not veil the picture
    tinted = np.asarray(np.rint(grey * (1 - cover) + _HOT * cover), np.uint8)
    outlines, _ = cv2.findContours((heat >= 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    down, across = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    centre = round((across + 0.5) * columns / heatmap.shape[1]), round((down + 0.5) * rows / heatmap.shape[0])
    for colour, width in ((_HALO, 3), (_INK, 1)):
        cv2.polylines(tinted, outlines, isClosed=True, color=colour, thickness=width, lineType=cv2.LINE_AA)
    for colour, width in ((_HALO, 4), (_INK, 2)):
        cv2.drawMarker(tinted, centre, colour, cv2.MARKER_CROSS, 13, width)
    return tinted


def shrunk(pixels: Pixels, side: int) -> Pixels:
    """A picture whose longer side is at most ``side`` pixels."""
    scale = min(1.0, side / max(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def data_uri(pixels: Pixels, quality: int) -> str:
    """A picture as JPEG, to stand in the page itself."""
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
