"""Draws the front view of a cast pump impeller, good or defective, for the simulated line.

The part is drawn in its own polar coordinates, where every machined ring is a band and every defect keeps its shape at
any pose, and is then laid into the picture by one interpolation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from edge_qc.domain import FloatArray, Pixels

Defect = Literal["blow_hole", "burr", "scratch", "shrinkage"]
DEFECTS: tuple[Defect, ...] = get_args(Defect)
SIDE_PX = 300

# The polar sheet: a row a pixel of radius, a column a step of angle. 240 rows reach nearly every corner.
_ROWS, _COLUMNS = 240, 640
_RIM = 120.0
_BORE, _HUB, _WELL, _RING = 28.0, 35.0, 68.0, 74.5
_TURN = 2 * math.pi
_RADIUS: FloatArray = np.arange(_ROWS, dtype=np.float32)[:, None]
_ANGLE: FloatArray = np.linspace(0, _TURN, _COLUMNS, endpoint=False, dtype=np.float32)[None, :]
_AXIS: FloatArray = np.arange(SIDE_PX, dtype=np.float32) - (SIDE_PX - 1) / 2
_PART_ROWS = slice(0, int(_RIM) + 16)


@dataclass(frozen=True, slots=True, eq=False)
class DrawnPart:
    """A drawn part, and what is true of it.

    Attributes:
        pixels: shape (300, 300), uint8, grayscale.
        defective: whether it has a defect.
        defect: blow_hole, burr, scratch or shrinkage; None for a good part.
        mask: shape (300, 300), bool, True where the defect lies; None for a good part.
    """

    pixels: Pixels
    defective: bool
    defect: Defect | None
    mask: npt.NDArray[np.bool_] | None


def draw_part(rng: np.random.Generator, defective: bool) -> DrawnPart:  # noqa: FBT001 - the label is the argument
    """Draws one part at a random pose, in random light.

    Args:
        rng: the only source of chance: the same state draws the same part.
        defective: whether it gets a defect, of a kind drawn evenly from the four.
    """
    sheet = _good_sheet(rng)
    defect: Defect | None = None
    spot: Pixels | None = None
    if defective:
        defect = DEFECTS[int(rng.integers(len(DEFECTS)))]
        spot = _DRAW[defect](rng, sheet)
    columns, rows = _pose(rng)
    posed = cv2.remap(sheet, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    picture: FloatArray = np.asarray(posed, np.float32)
    picture *= _light(rng)
    picture += rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(0.8, 2.5))
    pixels = cv2.convertScaleAbs(np.maximum(picture, 0))
    mask = None
    if spot is not None:
        mask = cv2.remap(spot, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) > 127
    return DrawnPart(np.asarray(pixels, np.uint8), defective, defect, mask)


def _pose(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Where each pixel of the picture lies on the sheet: columns and rows, each (300, 300) float32."""
    scale = rng.uniform(0.88, 1.08)
    tilt = rng.uniform(0.94, 1.0)
    lean = rng.uniform(0, math.pi)
    shift = rng.uniform(-7, 7, 2).astype(np.float32)
    cos, sin = math.cos(lean), math.sin(lean)
    x, y = (_AXIS - shift[0])[None, :], (_AXIS - shift[1])[:, None]
    along = (x * np.float32(cos) + y * np.float32(sin)) / np.float32(scale)
    across = (y * np.float32(cos) - x * np.float32(sin)) / np.float32(scale * tilt)
    radius, angle = cv2.cartToPolar(along, across)
    angle += np.float32(rng.uniform(0, _TURN))
    angle *= np.float32(_COLUMNS / _TURN)
    np.subtract(angle, _COLUMNS, out=angle, where=angle >= _COLUMNS)
    return np.asarray(angle, np.float32), np.asarray(np.minimum(radius, _ROWS - 1.5), np.float32)


def _light(rng: np.random.Generator) -> FloatArray:
    """Gain of each pixel: a soft gradient, (300, 300) float32 around 1."""
    coarse = rng.uniform(0.93, 1.07, (4, 4)).astype(np.float32) * np.float32(rng.uniform(0.78, 1.06))
    return np.asarray(cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC), np.float32)


def _good_sheet(rng: np.random.Generator) -> FloatArray:
    """A good part on its background: (240, 640) float32 grey levels."""
    shade = np.float32(rng.uniform(0, _TURN))
    lit = 0.5 + 0.5 * np.cos(_ANGLE - shade)
    sheet = np.empty((_ROWS, _COLUMNS), np.float32)
    _background(rng, sheet, lit)
    _disc(rng, sheet)
    _slit(rng, sheet, lit)
    metal = np.float32(rng.uniform(165, 205))
    _band(sheet, _WELL, _RING, metal * (0.9 + 0.14 * _wave(rng, 12)))
    _well(rng, sheet)
    _band(sheet, _BORE, _HUB, metal * (0.95 + 0.14 * _wave(rng, 10)))
    _bore(rng, sheet, lit)
    return sheet


def _wave(rng: np.random.Generator, knots: int) -> FloatArray:
    """A smooth closed curve over the angle: (1, 640) float32, about -1 to 1."""
    return _spread(rng.uniform(-1, 1, (1, knots)).astype(np.float32), 1)


def _texture(rng: np.random.Generator, grey_levels: float, knots: tuple[int, int], height: int) -> FloatArray:
    """Noise of this deviation, smooth over the angle, closed at the seam: (height, 640) float32."""
    return _spread(rng.standard_normal(knots, dtype=np.float32) * np.float32(grey_levels), height)


def _spread(knots: FloatArray, height: int) -> FloatArray:
    """Interpolates (rows, n) knots to (height, 640), as if the columns went round."""
    count = knots.shape[1]
    closed = np.concatenate([knots[:, -2:], knots, knots[:, :2]], axis=1)
    step = _COLUMNS / count
    wide = cv2.resize(closed, (round(step * (count + 4)), height), interpolation=cv2.INTER_CUBIC)
    start = round(step * 2)
    return np.asarray(wide[:, start : start + _COLUMNS], np.float32)


def _step(edge: float | FloatArray, rows: slice, soft: float = 1.3) -> FloatArray:
    """0 inside the radius ``edge``, 1 outside it, over ``soft`` pixels."""
    return np.asarray(np.clip((_RADIUS[rows] - edge) / soft + 0.5, 0, 1), np.float32)


def _around(inner: float, outer: float) -> slice:
    return slice(max(0, int(inner) - 3), min(_ROWS, int(outer) + 4))


def _band(sheet: FloatArray, inner: float, outer: float, grey: FloatArray) -> None:
    """Lays a ring of ``grey`` ((1, 640)) with soft edges, its outer edge a little brighter, as a chamfer is."""
    rows = _around(inner, outer)
    cover = _step(inner, rows) * (1 - _step(outer, rows))
    chamfer = 22 * np.exp(-(((_RADIUS[rows] - outer + 1.5) / 1.1) ** 2))
    sheet[rows] += cover * (grey + chamfer - sheet[rows])


def _background(rng: np.random.Generator, sheet: FloatArray, lit: FloatArray) -> None:
    """The belt, with the shadow that the part throws to one side."""
    depth = (0.12 + 0.55 * lit * lit) * np.float32(rng.uniform(0.5, 1.0))
    fall = np.exp(-np.maximum(_RADIUS - _RIM, 0) / np.float32(rng.uniform(9, 20)))
    np.multiply(fall, -depth, out=sheet)
    sheet += 1
    sheet *= np.float32(rng.uniform(140, 215))


def _disc(rng: np.random.Generator, sheet: FloatArray) -> None:
    """The turned face: a conical sheen, the tool's grooves, a thin bright rim."""
    rows = slice(int(_RING) - 3, int(_RIM) + 4)
    sheen = 18 * _wave(rng, 7) + 9 * _wave(rng, 17)
    lobe = np.float32(rng.uniform(10, 34)) * np.cos(2 * _ANGLE - np.float32(rng.uniform(0, _TURN)))
    height = rows.stop - rows.start
    face = _texture(rng, 3.5, (height, 20), height)
    face += _texture(rng, 5, (6, 40), height)
    face += np.float32(rng.uniform(170, 200)) + sheen + lobe
    rim = np.exp(-(((_RADIUS[rows] - _RIM + 1.2) / 1.0) ** 2))
    face += rim * (14 + 22 * _wave(rng, 20))
    outside = _step(_RIM + 0.5 * _wave(rng, 30), rows)
    edge = np.exp(-(((_RADIUS[rows] - _RIM - 1.5) / 1.3) ** 2))
    sheet[rows] = face + outside * (sheet[rows] * (1 - 0.45 * edge) - face)


def _slit(rng: np.random.Generator, sheet: FloatArray, lit: FloatArray) -> None:
    """The dark slit around the ring: wide on the shaded side, bridged by a glint here and there."""
    width: FloatArray = np.asarray(1.5 + 4.5 * lit + 0.6 * _wave(rng, 14), np.float32)
    rows = _around(_RING, _RING + 8)
    depth = np.clip(0.25 + 0.75 * lit + 0.12 * _wave(rng, 24), 0, 0.95)
    for at in rng.uniform(0, _TURN, int(rng.integers(1, 4))):
        gap = np.cos(_ANGLE - np.float32(at))
        depth = depth * (1 - 0.4 * (gap > np.cos(rng.uniform(0.02, 0.07))))
    cover = _step(_RING, rows) * (1 - _step(_RING + width, rows, 2.0)) * depth
    sheet[rows] += cover * (25 - sheet[rows])


def _well(rng: np.random.Generator, sheet: FloatArray) -> None:
    """The dark inside, where the vanes show faintly."""
    rows = _around(_HUB, _WELL)
    vanes = int(rng.integers(6, 9))
    phase = vanes * _ANGLE + 0.13 * _RADIUS[rows] + np.float32(rng.uniform(0, _TURN))
    ridge = np.maximum(np.cos(phase), 0) ** 6 * (1 + _wave(rng, 9)) * np.float32(rng.uniform(5, 20))
    fade = (_RADIUS[rows] - _HUB) / (_WELL - _HUB)
    grey = np.float32(rng.uniform(16, 30)) + ridge * np.clip(1.6 * fade, 0, 1)
    sheet[rows] += (1 - _step(_WELL, rows)) * (grey - sheet[rows])


def _bore(rng: np.random.Generator, sheet: FloatArray, lit: FloatArray) -> None:
    """Through the hub one sees the belt, with the hub's shadow on one side."""
    rows = _around(0, _BORE)
    reach = _RADIUS[rows] / _BORE
    shadow = np.clip(reach * (1.6 * lit - 0.5), 0, 1)
    grey = np.float32(rng.uniform(120, 165)) * (1 - 0.2 * reach**2) * (1 - 0.75 * shadow)
    sheet[rows] += (1 - _step(_BORE, rows)) * (grey - sheet[rows])


def _place(rng: np.random.Generator, low: float, high: float) -> tuple[float, float]:
    """A place for a defect: radius in pixels, angle away from the seam of the sheet."""
    return float(rng.uniform(low, high)), float(rng.uniform(0.25, 0.75) * _TURN)


def _fill(cover: Pixels, radius: float, angle: float, points: FloatArray) -> None:
    """Fills on the sheet a polygon given in pixels around a place: ``points`` (n, 2) outwards and along."""
    column = _COLUMNS / _TURN * (angle + points[:, 1] / radius)
    outline = np.stack([column, radius + points[:, 0]], axis=1)
    cv2.fillPoly(cover, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)


def _blob(rng: np.random.Generator, size_px: float) -> FloatArray:
    """An irregular outline of about this radius: (20, 2) float32, pixels."""
    turn = _ANGLE[0, :: _COLUMNS // 20]
    lobes = rng.uniform(0, _TURN, 3)
    ragged = 0.28 * np.cos(2 * turn + lobes[0]) + 0.2 * np.cos(3 * turn + lobes[1]) + 0.16 * np.cos(5 * turn + lobes[2])
    reach = (size_px * (1 + ragged)).astype(np.float32)
    stretch = np.float32(rng.uniform(0.75, 1.3))
    return np.stack([reach * np.cos(turn) * stretch, reach * np.sin(turn) / stretch], axis=1)


def _empty() -> Pixels:
    return np.zeros((_ROWS, _COLUMNS), np.uint8)


def _lay(sheet: FloatArray, cover: Pixels, grey: float | FloatArray) -> None:
    """Blends ``grey`` in where ``cover`` (0 to 255) says."""
    share = cover[_PART_ROWS].astype(np.float32) / 255
    sheet[_PART_ROWS] += share * (grey - sheet[_PART_ROWS])


def _blow_hole(rng: np.random.Generator, sheet: FloatArray) -> Pixels:
    """Gas pores: dark, ragged, with a lit lip."""
    holes, lips = _empty(), _empty()
    for _ in range(int(rng.integers(1, 4))):
        radius, angle = _place(rng, 84, 112)
        outline = _blob(rng, float(rng.uniform(3.2, 6.5)))
        _fill(lips, radius, angle, outline * 1.35 + np.float32(0.6))
        _fill(holes, radius, angle, outline)
    _lay(sheet, lips, 228.0)
    _lay(sheet, holes, float(rng.uniform(18, 60)))
    return holes


def _burr(rng: np.random.Generator, sheet: FloatArray) -> Pixels:
    """Flash that stands out over the rim, its root torn dark."""
    _, middle = _place(rng, 0, 1)
    half = rng.uniform(0.25, 0.75)
    arc = np.clip((half - np.abs(_ANGLE - middle)) * 9, 0, 1)
    ragged = np.maximum(_wave(rng, 40), 0) * (0.6 + 0.6 * _wave(rng, 23)) + 0.6 * np.maximum(_wave(rng, 120), 0)
    out = arc * (1.8 + np.float32(rng.uniform(4, 8)) * ragged)
    torn = arc * np.maximum(_wave(rng, 31) + 0.6 * _wave(rng, 90) + 0.2, 0) * np.float32(rng.uniform(2.5, 4.5))
    rows = slice(int(_RIM) - 12, int(_RIM) + 20)
    flash = (1 - _step(_RIM + out, rows)) * _step(_RIM - 1, rows) * np.minimum(out, 1)
    root = _step(_RIM - torn, rows) * (1 - _step(_RIM + 0.6 * torn, rows)) * np.minimum(torn, 1)
    sheet[rows] += flash * (225 + 25 * _wave(rng, 90) - sheet[rows])
    sheet[rows] += root * (30 - sheet[rows])
    spot = _empty()
    spot[rows] = 255 * np.maximum(flash, root)
    return spot


def _scratch(rng: np.random.Generator, sheet: FloatArray) -> Pixels:
    """One to three gouges across the turned face: a dark line beside a bright one."""
    dark, bright = _empty(), _empty()
    radius, angle = _place(rng, 95, 101)
    lean = rng.uniform(-1.2, 1.2)
    for i in range(int(rng.integers(1, 4))):
        longest = min(62.0, 30 / max(abs(math.sin(lean)), 0.1))
        along = np.linspace(-0.5, 0.5, 16, dtype=np.float32) * np.float32(rng.uniform(0.7, 1) * longest)
        along += np.float32(rng.uniform(-0.1, 0.1) * longest)
        bend = np.float32(rng.uniform(-0.003, 0.003)) * along * along
        outwards = radius + along * np.float32(math.sin(lean)) + bend * np.float32(math.cos(lean))
        beside = along * np.float32(math.cos(lean)) - bend * np.float32(math.sin(lean)) + np.float32(6 * i)
        turned = angle + np.arctan2(beside, outwards)
        line = np.stack([turned * np.float32(_COLUMNS / _TURN), np.hypot(beside, outwards)], axis=1)
        points = np.round(line * 16).astype(np.int32)
        cv2.polylines(bright, [points + 24], False, 255, 1, cv2.LINE_AA, 4)  # noqa: FBT003
        cv2.polylines(dark, [points], False, 255, 2, cv2.LINE_AA, 4)  # noqa: FBT003
    _lay(sheet, bright, 240.0)
    _lay(sheet, dark, float(rng.uniform(35, 80)))
    return np.maximum(dark, bright)


def _shrinkage(rng: np.random.Generator, sheet: FloatArray) -> Pixels:
    """A spongy patch: a dull hollow full of small pits."""
    radius, angle = _place(rng, 92, 104)
    size = float(rng.uniform(11, 17))
    patch = _empty()
    _fill(patch, radius, angle, _blob(rng, size))
    spot = patch.copy()
    patch = np.asarray(cv2.blur(patch, (7, 5)), np.uint8)
    dull = sheet[_PART_ROWS] * np.float32(rng.uniform(0.5, 0.72))
    _lay(sheet, patch, dull)
    pits = _empty()
    for _ in range(int(rng.integers(10, 18))):
        away, along = rng.normal(0, 0.45 * size, 2)
        _fill(pits, radius + float(np.clip(away, 80 - radius, 116 - radius)), angle + along / radius,
              _blob(rng, float(rng.uniform(1.3, 2.8))))  # fmt: skip
    _lay(sheet, pits, float(rng.uniform(20, 55)))
    return np.maximum(spot, pits)


_DRAW: dict[Defect, Callable[[np.random.Generator, FloatArray], Pixels]] = {
    "blow_hole": _blow_hole,
    "burr": _burr,
    "scratch": _scratch,
    "shrinkage": _shrinkage,
}
