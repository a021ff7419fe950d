"""A part is seen the same wherever it lies on its plain background, however near and in whatever light."""

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_qc.align import MARGIN, Circle, align, cut_square, find_part, square_around
from edge_qc.assembly import build_inspector
from edge_qc.bundle import SHIPPED, Bundle, Input, load_bundle
from edge_qc.capture.simulated_part import draw_part
from edge_qc.config import Config
from edge_qc.domain import Outcome, Pixels
from edge_qc.errors import NoPartError
from edge_qc.preprocess import Fitting, standardise
from edge_qc.region import Region
from fakes import frame, part

ALIGNED = Fitting(128, 128, align="part")
# So much two standardised pictures of one part differ on average, in standard deviations of their grey levels: what
# whole pixels, another scale and the noise leave. And so much at least without alignment.
SAME, OTHER = 0.18, 0.4

DOWN, ACROSS = np.mgrid[-1:1:480j, -1:1:640j].astype(np.float32)
NOISE = np.random.default_rng(0).normal(0, 1.5, DOWN.shape).astype(np.float32)
sizes = st.tuples(st.integers(32, 700), st.integers(32, 700))


def lights(slope: float) -> st.SearchStrategy[tuple[float, float, float, float]]:
    return st.tuples(st.floats(0.7, 1.3), st.floats(-15, 15), st.floats(-slope, slope), st.floats(-slope, slope))


def _outline(seed: int) -> npt.NDArray[np.float64]:
    """An uneven polygon of four to eight corners, which tells its turn: (corners, 2) within the unit circle."""
    rng = np.random.default_rng(seed)
    corners = int(rng.integers(4, 9))
    turns = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(-0.2, 0.2, corners)
    return rng.uniform(0.65, 1, corners)[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1)


def _scene(
    seed: int,
    background: float,
    face: float,
    at: tuple[float, float] = (320, 240),
    radius: float = 120,
    *,
    turn: float = 0,
    light: tuple[float, float, float, float] = (1, 0, 0, 0),
) -> Pixels:
    """A frame of 640 x 480 with a part that has a dark hole and a bright mark. Light: gain, offset, two slopes."""
    picture = np.full(DOWN.shape, background, np.float32)
    cos, sin = np.cos(turn), np.sin(turn)
    corners = _outline(seed) @ np.array(((cos, sin), (-sin, cos)))
    for scale, off, grey in ((1.0, 0.0, face), (0.3, 0.25, 15.0), (0.15, -0.3, 235.0)):
        cover = np.zeros(picture.shape, np.uint8)
        points = np.array(at) + radius * (scale * corners + off * np.array((cos, sin)))
        cv2.fillPoly(cover, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        picture += cover * ((grey - picture) / np.float32(255))
    gain, offset, to_right, to_bottom = light
    lit = (picture * gain + offset) * (1 + to_right * ACROSS + to_bottom * DOWN)
    return np.clip(np.rint(lit + NOISE), 0, 255).astype(np.uint8)


def _difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(standardise(one) - standardise(other)).mean())


@settings(max_examples=30)
@given(
    st.integers(0, 10_000),
    st.tuples(st.floats(140, 500), st.floats(140, 340)),
    st.floats(80, 130),
    lights(0.05),
    st.sampled_from([(150, 70), (60, 120), (190, 130), (100, 190)]),
)
def test_a_part_is_seen_the_same_off_the_middle_nearer_and_in_other_light(
    seed: int,
    at: tuple[float, float],
    radius: float,
    light: tuple[float, float, float, float],
    greys: tuple[float, float],
) -> None:
    in_the_middle, elsewhere = _scene(seed, *greys), _scene(seed, *greys, at, radius, light=light)
    assert _difference(ALIGNED.pixels(in_the_middle), ALIGNED.pixels(elsewhere)) < SAME


def test_without_alignment_it_is_not() -> None:
    in_the_middle, elsewhere = _scene(3, 150, 70), _scene(3, 150, 70, (230, 200), 90)
    assert _difference(Fitting(128, 128).pixels(in_the_middle), Fitting(128, 128).pixels(elsewhere)) > OTHER


@given(st.integers(0, 10_000), st.floats(0, 6.28))
def test_a_turned_part_is_turned_and_keeps_its_place_and_scale(seed: int, turn: float) -> None:
    as_it_was, turned = find_part(_scene(seed, 150, 70)), find_part(_scene(seed, 150, 70, turn=turn))
    assert as_it_was is not None
    assert turned is not None
    assert turned.radius == pytest.approx(as_it_was.radius, rel=0.04)


@given(st.integers(0, 10_000), st.floats(140, 500), st.floats(140, 340), st.floats(80, 130), lights(0.15))
def test_the_circle_is_the_smallest_around_the_part_with_the_lamp_on_one_side_too(
    seed: int, x: float, y: float, radius: float, light: tuple[float, float, float, float]
) -> None:
    found = find_part(_scene(seed, 60, 130, (x, y), radius, light=light))
    points = (np.array((x, y)) + radius * _outline(seed)).astype(np.float32)
    centre, drawn = cv2.minEnclosingCircle(points)
    assert found is not None
    assert (found.x, found.y) == pytest.approx(centre, abs=5)
    assert found.radius == pytest.approx(drawn, abs=5)


@pytest.mark.parametrize("slope", [-0.25, 0.25])
def test_a_background_that_is_brighter_on_one_side_hides_no_faint_part(slope: float) -> None:
    evenly, from_one_side = (find_part(_scene(3, 150, 105, light=(1, 0, x, 0))) for x in (0, slope))
    assert evenly is not None
    assert from_one_side is not None
    assert (from_one_side.x, from_one_side.radius) == pytest.approx((evenly.x, evenly.radius), abs=3)


def test_a_part_with_a_hole_is_found_whole() -> None:
    picture = np.full((300, 400), 120, np.uint8)
    cv2.circle(picture, (180, 150), 90, 180, 14)
    found = find_part(picture)
    assert found is not None
    assert (found.x, found.y, found.radius) == pytest.approx((180, 150, 97), abs=3)


def test_of_two_parts_none_is_seen_and_what_is_much_smaller_is_none() -> None:
    for radius, seen in ((40, False), (12, True)):
        picture = np.full((300, 400), 120, np.uint8)
        cv2.circle(picture, (80, 150), radius, 30, -1)
        cv2.circle(picture, (280, 150), 70, 30, -1)
        assert (find_part(picture) is not None) is seen


@pytest.mark.parametrize("middle", [(0, 150), (400, 150), (200, 0), (200, 300), (0, 0), (69, 150)])
def test_a_part_that_reaches_the_border_is_not_whole(middle: tuple[int, int]) -> None:
    picture = np.full((300, 400), 120, np.uint8)
    cv2.circle(picture, middle, 70, 30, -1)
    assert find_part(picture) is None


@given(sizes, st.integers(0, 255), st.floats(0, 4), st.integers(0, 99))
def test_a_bare_background_has_no_part(size: tuple[int, int], level: int, noise: float, seed: int) -> None:
    levels = level + np.random.default_rng(seed).normal(0, noise, size)
    assert find_part(np.clip(np.rint(levels), 0, 255).astype(np.uint8)) is None


@given(sizes, st.integers(0, 99))
def test_noise_has_no_part(size: tuple[int, int], seed: int) -> None:
    assert find_part(np.random.default_rng(seed).integers(0, 256, size, np.uint8)) is None


@given(sizes, st.floats(0, 6.28), st.floats(0, 255), st.floats(0, 255))
def test_a_gradient_has_no_part(size: tuple[int, int], turn: float, low: float, high: float) -> None:
    down, across = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    along = (np.cos(turn) * across + np.sin(turn) * down) / (abs(np.cos(turn)) + abs(np.sin(turn)))
    assert find_part(np.rint(low + (high - low) * (along + 1) / 2).astype(np.uint8)) is None


def test_a_speck_is_no_part_and_what_fills_the_frame_is_none() -> None:
    speck, filled = np.full((300, 400), 120, np.uint8), np.full((300, 400), 120, np.uint8)
    cv2.circle(speck, (200, 150), 20, 20, -1)
    cv2.rectangle(filled, (0, 40), (400, 300), 20, -1)
    assert find_part(speck) is None
    assert find_part(filled) is None


@given(st.integers(0, 2**32 - 1), sizes, st.integers(1, 40), st.sampled_from(["letterbox", "crop", "stretch"]))
@example(0, (1, 700), 1, "letterbox")
@example(0, (1, 1), 1, "letterbox")
@example(0, (2, 2), 1, "letterbox")
def test_any_picture_is_fitted_or_has_no_part(seed: int, size: tuple[int, int], coarse: int, fit: str) -> None:
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 256, (-(-size[0] // coarse), -(-size[1] // coarse)), np.uint8)
    picture = np.ascontiguousarray(np.kron(few, np.ones((coarse, coarse), np.uint8))[: size[0], : size[1]])
    try:
        fitted = Fitting(96, 64, fit, align="part").pixels(picture)  # type: ignore[arg-type]
    except NoPartError:
        return
    assert (fitted.shape, fitted.dtype) == ((96, 64), np.uint8)


def test_the_cut_is_a_view_where_it_lies_in_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)
    cut = cut_square(picture, square_around(Circle(199.5, 149.5, 50), margin=0.1))
    assert np.shares_memory(cut, picture)
    assert np.array_equal(cut, picture[90:210, 140:260])


def test_beyond_the_picture_its_border_is_repeated() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)
    cut = cut_square(picture, square_around(Circle(-0.5, 149.5, 50), margin=0))
    assert cut.shape == (100, 100)
    assert np.array_equal(cut[:, 50:], picture[100:200, :50])
    assert (cut[:, :50] == picture[100:200, :1]).all()


def test_the_part_stands_in_the_middle_of_the_cut_with_its_margin() -> None:
    picture = np.full((480, 640), 150, np.uint8)
    cv2.circle(picture, (450, 150), 100, 60, -1)
    cut, _ = align(picture)
    rows, columns = np.nonzero(cut < 100)
    side = len(cut)
    assert side == pytest.approx(200 * (1 + 2 * MARGIN), abs=5)
    for axis in (rows, columns):
        assert axis.min() == pytest.approx(side - 1 - axis.max(), abs=4)


def test_the_part_is_looked_for_in_the_region_alone() -> None:
    picture = np.full((480, 640), 150, np.uint8)
    cv2.circle(picture, (150, 240), 60, 60, -1)
    cv2.circle(picture, (450, 240), 120, 60, -1)
    left = Region(x=0, y=0, width=0.5, height=1)
    fitted = Fitting(96, 96, region=left, align="part").pixels(picture)
    assert np.array_equal(fitted, Fitting(96, 96, align="part").pixels(picture[:, :320]))


def _aligning(**changed: object) -> Bundle:
    shipped = load_bundle(SHIPPED)
    card_input = shipped.card.input.model_copy(update={"align": "part", **changed})
    return Bundle(shipped.path, shipped.card.model_copy(update={"input": card_input}), shipped.model)


def _casting_aside() -> Pixels:
    """A drawn casting of two thirds its size in a corner of a plain belt."""
    drawn = draw_part(np.random.default_rng(4), False).pixels
    down, across = np.mgrid[-149.5:150, -149.5:150]
    belt = np.where(np.hypot(down, across) < 125, drawn, 90).astype(np.uint8)
    wide = np.full((480, 640), 90, np.uint8)
    wide[10:210, 20:220] = cv2.resize(belt, (200, 200), interpolation=cv2.INTER_AREA)
    return wide


def test_a_round_part_aside_is_aligned_and_then_unwrapped() -> None:
    aside = replace(part(), frame=frame(_casting_aside()))
    verdict, prediction = build_inspector(Config(), _aligning()).inspect(aside)
    assert verdict.outcome is not Outcome.NOT_INSPECTED
    assert prediction is not None
    assert build_inspector(Config(), load_bundle(SHIPPED)).inspect(aside)[0].outcome is Outcome.NOT_INSPECTED


def test_an_empty_belt_is_not_inspected_because_the_part_is_missing() -> None:
    empty = replace(part(), frame=frame(np.full((480, 640), 150, np.uint8)))
    verdict, prediction = build_inspector(Config(), _aligning()).inspect(empty)
    assert (verdict.outcome, verdict.reason, prediction) == (Outcome.NOT_INSPECTED, "missing", None)
    assert "no part found to cut out; expected one, whole, that stands out from a plain background" in verdict.detail


def test_of_several_frames_those_without_the_part_do_not_vote() -> None:
    empty, aside = frame(np.full((480, 640), 150, np.uint8)), frame(_casting_aside(), seq=2)
    several = replace(part(), frame=empty, others=(aside,))
    verdict, prediction = build_inspector(Config(), _aligning()).inspect(several)
    assert verdict.outcome is not Outcome.NOT_INSPECTED
    assert prediction is not None
    assert prediction.frame_index == 1


def test_a_bundle_whose_card_says_nothing_of_it_is_not_aligned() -> None:
    assert Input.model_validate({"scale": 0.02, "zero_point": 0}).fitting().align == "none"
