"""A round part, laid straight."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.capture.simulated_part import draw_part
from edge_qc.unwrap import Opening, find_opening, lay_back, unwrap

PARTS = [draw_part(np.random.default_rng(seed), seed % 2 == 1) for seed in range(6)]


def _lit(level: float, gain: float, gamma: float) -> np.ndarray:
    levels = np.clip(((np.arange(256) / 255) ** gamma * 255) * gain + level, 0, 255)
    return np.rint(levels).astype(np.uint8)


@pytest.mark.parametrize("light", [(40, 1, 1), (-40, 1, 1), (0, 1.3, 1), (0, 0.7, 1), (0, 1, 0.6), (0, 1, 1.6)])
def test_the_opening_is_found_in_the_same_place_in_any_light(light: tuple[float, float, float]) -> None:
    for part in PARTS:
        plain, lit = find_opening(part.pixels), find_opening(cv2.LUT(part.pixels, _lit(*light)))
        assert plain is not None
        assert lit is not None
        assert (lit.x, lit.y) == pytest.approx((plain.x, plain.y), abs=3)
        assert lit.width + lit.height == pytest.approx(plain.width + plain.height, abs=8)


def test_a_shifted_part_has_a_shifted_opening() -> None:
    shift = np.float32([[1, 0, 9], [0, 1, -6]])
    for part in PARTS:
        moved = cv2.warpAffine(part.pixels, shift, (300, 300), borderMode=cv2.BORDER_REPLICATE)
        before, after = find_opening(part.pixels), find_opening(np.asarray(moved, np.uint8))
        assert before is not None
        assert after is not None
        assert (after.x - before.x, after.y - before.y) == pytest.approx((9, -6), abs=1)


def _checkerboard() -> np.ndarray:
    return ((np.indices((300, 300)) // 20).sum(0) % 2 * 255).astype(np.uint8)


@pytest.mark.parametrize(
    "senseless",
    [
        np.zeros((300, 300), np.uint8),
        np.full((300, 300), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8),
        np.tile(np.linspace(0, 255, 300).astype(np.uint8), (300, 1)),
        _checkerboard(),
    ],
    ids=["black", "white", "noise", "gradient", "checkerboard"],
)
def test_what_is_no_round_part_has_no_opening(senseless: np.ndarray) -> None:
    assert find_opening(senseless) is None


def test_a_turn_of_the_part_is_a_shift_of_its_ring() -> None:
    part = PARTS[0].pixels
    opening = find_opening(part)
    assert opening is not None
    ring, later = unwrap(part, opening), unwrap(part, opening, turn=np.deg2rad(19))
    columns = 30  # 19 degrees of the 190 in 300 columns
    difference = cv2.absdiff(ring[:150, columns:], np.ascontiguousarray(later[:150, :-columns]))
    assert difference.mean() < 2


def test_a_mirrored_part_has_a_mirrored_ring() -> None:
    part = PARTS[0].pixels
    opening = find_opening(part)
    assert opening is not None
    ring, mirrored = unwrap(part, opening, turn=np.pi), unwrap(part, opening, mirrored=True)
    # From 180 to 360 degrees the one way is from 180 to 0 the other.
    assert cv2.absdiff(np.ascontiguousarray(ring[:150, ::-1]), mirrored[:150]).mean() < 2


def test_what_is_seen_on_the_ring_is_laid_back_to_where_it_is() -> None:
    for part in PARTS:
        if part.mask is None:
            continue
        opening = find_opening(part.pixels)
        assert opening is not None
        ring = unwrap(np.where(part.mask, 255, 0).astype(np.uint8), opening)
        laid = lay_back(ring.astype(np.float32) / 255, opening, 300, 300, 300)
        row, column = np.unravel_index(np.argmax(cv2.GaussianBlur(laid, (0, 0), 2)), laid.shape)
        near = cv2.dilate(part.mask.astype(np.uint8), np.ones((7, 7), np.uint8))
        assert near[row, column]


def test_nothing_is_laid_back_outside_the_ring() -> None:
    opening = find_opening(PARTS[0].pixels)
    assert opening is not None
    laid = lay_back(np.ones((18, 19), np.float32), opening, 300, 300, 38)
    assert (laid[0, 0], laid[19, 19], laid.max()) == (0, 0, 1)


def test_a_rim_that_leaves_the_picture_is_laid_on_evenly_where_it_is_not_seen() -> None:
    part = PARTS[0].pixels
    opening = find_opening(part)
    assert opening is not None
    whole, across = unwrap(part, opening), 30
    cut = cv2.copyMakeBorder(
        part[:, :-across], 0, 0, across, 0, cv2.BORDER_REPLICATE
    )  # moved to the right, out of sight
    sheet = unwrap(np.asarray(cut, np.uint8), replace(opening, x=opening.x + across))
    # To the right, 5 of the 190 degrees from the left edge of the upper half: what is not seen lies in the outer rows.
    unseen, seen = sheet[120:148, :20], sheet[20:90]
    assert np.abs(np.diff(unseen.astype(int), axis=1)).max() <= 12  # no edge is drawn
    assert cv2.absdiff(unseen, np.ascontiguousarray(whole[120:148, :20])).mean() < 12
    assert cv2.absdiff(seen, np.ascontiguousarray(whole[20:90])).max() <= 2


@given(
    st.integers(0, len(PARTS) - 1), st.floats(-200, 500), st.floats(-200, 500), st.integers(40, 200), st.floats(0, 3.1)
)
def test_an_opening_anywhere_gives_a_whole_sheet(which: int, x: float, y: float, axis: int, turn: float) -> None:
    sheet = unwrap(PARTS[which].pixels, Opening(x, y, axis, axis * 0.9, turn))
    assert (sheet.shape, sheet.dtype) == ((300, 300), np.uint8)


def test_the_opening_of_a_part_on_a_dark_table_is_found() -> None:
    part = PARTS[0].pixels
    opening = find_opening(part)
    assert opening is not None
    away = np.hypot(*(np.indices(part.shape) - np.array([opening.y, opening.x])[:, None, None]))
    on_dark = np.where(away > opening.width, 5, part).astype(np.uint8)
    found = find_opening(on_dark)
    assert found is not None
    assert (found.x, found.y, found.width) == pytest.approx((opening.x, opening.y, opening.width), abs=6)


def test_a_part_of_which_too_much_is_out_of_sight_is_none() -> None:
    part = PARTS[0].pixels
    for across, found in ((0, True), (15, True), (60, False)):
        moved = cv2.warpAffine(
            part, np.float32([[1, 0, across], [0, 1, 0]]), (300, 300), borderMode=cv2.BORDER_REPLICATE
        )
        assert (find_opening(np.asarray(moved, np.uint8)) is not None) is found
