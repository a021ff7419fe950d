"""A round part unwrapped to polar coordinates: every machined ring becomes a straight band, every turn a shift.

What is left to learn is what breaks a band. On castings that training had not seen, a network that looks at the
unwrapped ring was right for more of them after 300 batches than one that looks at the picture after 2,400
(docs/studies/).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edge_qc.domain import FloatArray, Pixels

# Looked for at half the size: the opening is large, and a quarter of the pixels takes a quarter of the time.
_REDUCED = 2
# Thresholds between the picture's dark (4 %) and its middle (60 %) grey level. The low ones part the opening from a
# shaded flank, the high ones take in an opening that is lit.
_LEVELS = (0.15, 0.24, 0.33, 0.42)
_DARK, _MIDDLE = 0.04, 0.6
# The opening as a share of the picture's side, and how far it may lie from the middle.
_RADIUS_MIN, _RADIUS_MAX, _OFF_MIDDLE_MAX, _ASPECT_MIN = 0.14, 0.36, 0.25, 0.7
# How far the outline may be from an ellipse: root mean square, as a share of its radius.
_ROUGHNESS_GOOD, _ROUGHNESS_MAX = 0.012, 0.06
# Share of the opening, between bore and edge, that must be dark: the rim's shadow is as round, but has metal within.
_FILLED_MIN = 0.85
_FEWEST_POINTS = 6  # an ellipse has five parameters
_PARENT = 3  # where OpenCV notes what an outline is a hole of
_SPOTS = np.stack([np.cos(np.arange(48) * math.tau / 48), np.sin(np.arange(48) * math.tau / 48)]).T

# Radii of the sheet's rows, as multiples of the opening's: from within the bore to outside the rim.
_FROM, _TO = 0.28, 1.98
# How far it may reach beyond one border, and beyond all together, as a share of its radius: of a ring that is seen no
# better, too much would be taken on trust. Some 7 % of the sheet at most is not seen.
_BEYOND_MAX, _BEYOND_ALL_MAX = 0.2, 0.5

# The ring is laid in two halves, one above the other, that overlap by ten degrees: a defect on a seam is whole on one.
_OVERLAP = math.radians(5)


@dataclass(frozen=True, slots=True)
class Opening:
    """The dark round opening in the middle of a part, as an ellipse: a tilted or stretched circle.

    Attributes:
        x: of its centre, pixels.
        y: of its centre, pixels.
        width: of its first axis, pixels, whole.
        height: of its second axis, pixels, whole.
        turn: of the first axis, radians.
    """

    x: float
    y: float
    width: float
    height: float
    turn: float

    def from_circle(self) -> npt.NDArray[np.float64]:
        """The symmetric matrix (2, 2) that makes this ellipse of the unit circle, without a turn of its own."""
        return _symmetric(self.width / 2, self.height / 2, self.turn)

    def to_circle(self) -> npt.NDArray[np.float64]:
        """Its inverse, (2, 2)."""
        return _symmetric(2 / self.width, 2 / self.height, self.turn)


def _symmetric(first: float, second: float, turn: float) -> npt.NDArray[np.float64]:
    """The matrix with these eigenvalues, the eigenvector of the first turned so far."""
    cos, sin = math.cos(turn), math.sin(turn)
    across = cos * sin * (first - second)
    return np.array(
        ((cos * cos * first + sin * sin * second, across), (across, sin * sin * first + cos * cos * second))
    )


def find_opening(pixels: Pixels) -> Opening | None:
    """The largest dark round opening near the middle of a picture; None where there is none.

    Args:
        pixels: shape (height, width), uint8.
    """
    height, width = pixels.shape
    size = (width // _REDUCED, height // _REDUCED)
    small = cv2.GaussianBlur(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), (0, 0), 1)
    levels = np.cumsum(np.bincount(small[::2, ::2].ravel(), minlength=256))
    dark, middle = np.searchsorted(levels, (_DARK * levels[-1], _MIDDLE * levels[-1]))
    found: list[tuple[float, cv2.typing.RotatedRect]] = []
    for level in _LEVELS:
        found += _candidates(small, dark + level * (middle - dark))
        if found and min(found)[0] <= _ROUGHNESS_GOOD:
            break  # as smooth as an opening's outline is: the other levels would give the same
    if not found:
        return None
    roughness, ((x, y), axes, degrees) = min(found)
    if roughness > _ROUGHNESS_MAX:
        return None
    # A reduced pixel's middle lies between those of the pixels that it was made of.
    middle_of = (_REDUCED - 1) / 2
    return Opening(
        _REDUCED * x + middle_of,
        _REDUCED * y + middle_of,
        _REDUCED * axes[0],
        _REDUCED * axes[1],
        math.radians(degrees),
    )


def _candidates(small: "cv2.typing.MatLike", threshold: float) -> Iterator[tuple[float, "cv2.typing.RotatedRect"]]:
    """Whatever is round, dark below this threshold and in the right place, and how rough its outline is."""
    size = small.shape[1], small.shape[0]
    below = np.asarray(cv2.threshold(small, threshold, 255, cv2.THRESH_BINARY_INV)[1], np.uint8)
    outlines, nesting = cv2.findContours(below, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for place, outline in enumerate(outlines):
        # Of the outer outlines, also of what lies within a hole of another: the opening of a part on a dark table.
        if nesting[0, place, _PARENT] >= 0 or min(cv2.boundingRect(outline)[2:]) < 2 * _RADIUS_MIN * min(size):
            continue
        hull = cv2.convexHull(outline)
        if len(hull) < _FEWEST_POINTS:
            continue
        ellipse = cv2.fitEllipse(hull)
        if _is_plausible(ellipse, size) and _is_filled(below, ellipse):
            yield _roughness(hull, ellipse), ellipse


def _is_plausible(ellipse: "cv2.typing.RotatedRect", size: tuple[int, int]) -> bool:
    (x, y), axes, _ = ellipse
    side, radius = min(size), (axes[0] + axes[1]) / 4
    reach = _TO * max(axes) / 2
    return (
        _RADIUS_MIN * side <= radius <= _RADIUS_MAX * side
        and min(axes) >= _ASPECT_MIN * max(axes)
        and math.hypot(x - size[0] / 2, y - size[1] / 2) <= _OFF_MIDDLE_MAX * side
        and _is_in_sight(x, y, reach, size)
    )


def _is_in_sight(x: float, y: float, reach: float, size: tuple[int, int]) -> bool:
    beyond = [max(0.0, length) / reach for length in (reach - x, reach - y, x + reach - size[0], y + reach - size[1])]
    return max(beyond) <= _BEYOND_MAX and sum(beyond) <= _BEYOND_ALL_MAX


def _is_filled(below: Pixels, ellipse: "cv2.typing.RotatedRect") -> bool:
    (x, y), axes, degrees = ellipse
    turn = math.radians(degrees)
    rotation = np.array(((math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))))
    edge = (_SPOTS * np.array(axes) / 2) @ rotation
    spots = np.concatenate([share * edge for share in (0.75, 0.85, 0.93)]) + np.array((x, y))
    columns, rows = np.clip(np.rint(spots).astype(int), 0, np.array(below.shape[::-1]) - 1).T
    return bool(np.count_nonzero(below[rows, columns]) >= _FILLED_MIN * len(spots))


def _roughness(hull: "cv2.typing.MatLike", ellipse: "cv2.typing.RotatedRect") -> float:
    (x, y), axes, degrees = ellipse
    turn = math.radians(degrees)
    points = hull.reshape(-1, 2) - np.array((x, y))
    along = (points[:, 0] * math.cos(turn) + points[:, 1] * math.sin(turn)) / (axes[0] / 2)
    across = (points[:, 1] * math.cos(turn) - points[:, 0] * math.sin(turn)) / (axes[1] / 2)
    return float(np.sqrt(np.mean((np.hypot(along, across) - 1) ** 2)))


def unwrap(
    pixels: Pixels, opening: Opening, *, turn: float = 0.0, mirrored: bool = False, smooth: bool = False
) -> Pixels:
    """The ring around an opening, laid straight: two halves of the turn, one above the other.

    Args:
        pixels: shape (height, width), uint8; an even height.
        opening: where the ring lies.
        turn: where it begins, radians.
        mirrored: run the other way round.
        smooth: interpolate by cubics instead of lines.

    Returns:
        Shape (height, width), uint8: rows from the bore outwards, columns along the turn, in each half. What of a
        circle lies outside the picture is laid evenly from one end of the gap to the other.
    """
    cos, sin = math.cos(turn), math.sin(turn)
    turned = np.array(((cos, -sin), (sin, cos))) @ np.diag((1, -1 if mirrored else 1))
    matrix = np.column_stack([opening.from_circle() @ turned, (opening.x, opening.y)])
    places = cv2.transform(_circles(*pixels.shape), matrix)
    method = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    # None: both coordinates stand in one map, which OpenCV's stubs do not know of.
    laid = cv2.remap(pixels, places, None, method, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    sheet = np.asarray(laid, np.uint8)
    if _leaves(matrix, *pixels.shape):
        _fill(sheet, np.asarray(cv2.inRange(places, (0, 0), (pixels.shape[1] - 1, pixels.shape[0] - 1)), np.uint8))
    return sheet


def _leaves(matrix: npt.NDArray[np.float64], height: int, width: int) -> bool:
    """Whether the outermost circle, an ellipse in the picture, reaches beyond its borders."""
    reach = _TO * np.hypot(matrix[:, 0], matrix[:, 1])
    middle = matrix[:, 2]
    return bool((middle < reach).any() or (middle + reach > (width - 1, height - 1)).any())


def _fill(sheet: Pixels, seen: Pixels) -> None:
    """Lays each gap of a circle (0 in ``seen``, else 255) evenly from its one end to its other.

    A circle of which nothing is seen stays as it is.

    A rim that is cut off is no broken one; and since a tilted part's rim rises and falls along the turn, the mean of
    the circle would draw an edge where there is none.
    """
    rows, columns = sheet.shape
    halves = sheet.reshape(2, rows // 2, columns)
    known = seen.reshape(halves.shape) > 0
    angles = _angles(columns).ravel()
    for row in np.flatnonzero(~known.all(axis=(0, 2)) & known.any(axis=(0, 2))):
        circle, here = halves[:, row].ravel(), known[:, row].ravel()
        circle[~here] = np.rint(np.interp(angles[~here], angles[here], circle[here], period=math.tau))
        halves[:, row] = circle.reshape(2, columns)


@lru_cache(maxsize=4)
def _angles(columns: int) -> npt.NDArray[np.float64]:
    """Where each column lies along the turn, radians: shape (2, columns), of either half."""
    along = np.linspace(-_OVERLAP, math.pi + _OVERLAP, columns)
    return np.stack([along, along + math.pi])


def lay_back(heatmap: FloatArray, opening: Opening, height: int, width: int, cells: int) -> FloatArray:
    """A map of an unwrapped ring, laid back over the picture that it was unwrapped from.

    Args:
        heatmap: shape (rows, columns), float32, of what ``unwrap`` gave.
        opening: where the ring lies in the picture.
        height: of the picture, pixels.
        width: of the picture, pixels.
        cells: rows and columns wanted.

    Returns:
        Shape (cells, cells), float32; 0 inside the bore and outside the rim.
    """
    to_circle = opening.to_circle()
    away = np.column_stack([to_circle * (width, height), -to_circle @ (opening.x, opening.y)])
    along, across = cv2.split(cv2.transform(_cells(cells), away))
    radius, angle = cv2.cartToPolar(along, across)
    rows, columns = heatmap.shape
    column = (np.mod(angle, np.float32(math.pi)) + _OVERLAP) * (columns / (math.pi + 2 * _OVERLAP)) - 0.5
    share = (radius - _FROM) / (_TO - _FROM)
    row = (np.clip(share, 0, 1) + (angle >= math.pi)) * (rows / 2) - 0.5
    places = column.astype(np.float32), row.astype(np.float32)
    laid = np.asarray(cv2.remap(heatmap, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
    laid[(share < 0) | (share > 1)] = 0
    return laid


@lru_cache(maxsize=4)
def _cells(cells: int) -> FloatArray:
    """The middles of the cells of a square of side 1, shape (cells, cells, 2), float32."""
    middles = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    return np.stack(np.meshgrid(middles, middles), axis=2)


@lru_cache(maxsize=4)
def _circles(height: int, width: int) -> FloatArray:
    """Where each pixel of the sheet lies around an opening of radius 1: x and y, shape (height, width, 2)."""
    half = height // 2
    angles = np.repeat(_angles(width), half, axis=0)
    radius = np.tile(np.linspace(_FROM, _TO, half), 2)[:, None]
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=2).astype(np.float32)
