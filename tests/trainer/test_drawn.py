"""What is drawn into training pictures: defects that can be seen, and glints that are none."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.domain import Pixels
from edge_qc.unwrap import Opening, find_opening, unwrap
from edge_qc_trainer.batches import Sampler
from edge_qc_trainer.config import Augment, Recipe
from edge_qc_trainer.defects import Place, draw_defects, on_a_part, on_a_ring
from edge_qc_trainer.glints import draw_glints
from ring_parts import draw_ring

SEEDS = st.integers(0, 2**32 - 1)
STILL = Augment(light_share=0, lamp_share=0, blur_share=0, noise_share=0, draw_share=0, cut_share=0, glint_share=0)


def opening_of(pixels: Pixels) -> Opening:
    opening = find_opening(pixels)
    assert opening is not None
    return opening


PART = draw_ring(1)
SHEET = unwrap(PART, opening_of(PART))


@pytest.mark.parametrize(("picture", "on"), [(PART, on_a_part(300)), (SHEET, on_a_ring(SHEET))], ids=["part", "ring"])
@given(seed=SEEDS)
def test_a_drawn_defect_can_be_seen_where_it_is_said_to_be(picture: Pixels, on: Place, seed: int) -> None:
    drawn, where = draw_defects(picture, np.random.default_rng(seed), on)
    near = cv2.dilate(where, np.ones((9, 9), np.uint8)) > 0
    change = cv2.absdiff(drawn, picture)
    assert np.count_nonzero(change[near] >= 15) >= 4
    assert not change[~near].any()


def test_where_no_defect_can_be_seen_the_picture_stays_as_it_was() -> None:
    drawn, where = draw_defects(PART, np.random.default_rng(0), lambda _rng: np.array([-900.0, -900.0]))
    assert np.array_equal(drawn, PART)
    assert not where.any()


def test_a_good_part_whose_drawn_defect_cannot_be_seen_stays_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_qc_trainer.batches.on_a_part", lambda _size: lambda _rng: np.array([-900.0, -900.0]))
    recipe = Recipe(batch=4, augment=STILL.model_copy(update={"draw_share": 1}))
    sampler = Sampler(PART[None], np.array([1]), np.ones(1), np.array([False, True]), recipe, 0)
    _, targets, evidence = sampler.batch(0)
    assert (targets.argmax(1) == 1).all()
    assert (evidence == -1).all()


def test_defects_of_a_ring_lie_between_hub_and_rim_and_most_often_at_its_edges() -> None:
    sheet = np.full((300, 300), 200, np.uint8)
    sheet[[100, 250]] = 20  # a groove, in each half of the turn
    on, rng = on_a_ring(sheet), np.random.default_rng(0)
    rows = np.array([on(rng)[1] % 150 for _ in range(400)])
    assert rows.min() > 0.12 * 150
    assert rows.max() < 0.96 * 150
    assert 0.5 < (np.abs(rows - 100) < 6).mean() < 0.7


@given(seed=SEEDS)
def test_glints_lie_in_one_half_of_the_turn_and_change_light_by_a_share(seed: int) -> None:
    sheet = np.full((300, 300), 120, np.uint8)
    drawn = draw_glints(sheet, np.random.default_rng(seed))
    change = np.abs(drawn.astype(float) - sheet) / 120
    changed = [change[:150].any(), change[150:].any()]
    assert not all(changed)
    assert change.max() <= 7 * 0.15 + 0.01


def test_glints_reach_across_the_flank() -> None:
    sheet = np.full((300, 300), 120, np.uint8)
    changes = [draw_glints(sheet, np.random.default_rng(seed)) != sheet for seed in range(50)]
    lengths = [change.any(axis=1).sum() for change in changes if change.any()]
    assert len(lengths) > 45
    assert np.quantile(lengths, 0.1) > 0.25 * 150


def test_rings_get_glints_and_whole_parts_get_none() -> None:
    still = Recipe(batch=4, augment=STILL)
    lit = Recipe(batch=4, augment=STILL.model_copy(update={"glint_share": 1}))
    whole = Sampler(PART[None], np.array([1]), np.ones(1), np.array([False, True]), still, 0)
    rings = replace(whole, openings=(opening_of(PART),))
    assert not np.array_equal(rings.batch(0)[0], replace(rings, recipe=lit).batch(0)[0])
    assert np.array_equal(whole.batch(0)[0], replace(whole, recipe=lit).batch(0)[0])
