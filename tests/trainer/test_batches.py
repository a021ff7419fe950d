"""What the network is shown."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from edge_qc.unwrap import find_opening
from edge_qc_trainer.augment import augment
from edge_qc_trainer.batches import Sampler, made_ahead, sampling_weights
from edge_qc_trainer.config import Augment, Recipe
from edge_qc_trainer.dataset import find_files, load, with_openings
from edge_qc_trainer.defects import draw_defects, on_a_part
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.fit import evidence_loss
from ring_parts import draw_ring, write

RECIPE = Recipe(size=64, batch=4)
GOOD = np.array([False, True])
SAMPLER = Sampler(
    np.stack([draw_ring(s, 64) for s in range(4)]),
    np.array([0, 1, 0, 1]),
    np.full(4, 0.25),
    np.array([False, True]),
    RECIPE,
    0,
)


def test_classes_are_drawn_alike() -> None:
    targets = np.array([0] * 90 + [1] * 10)
    weights = sampling_weights(targets, np.arange(100), np.zeros(100, int), RECIPE)
    assert weights[targets == 1].sum() == pytest.approx(0.5)


def test_many_copies_of_a_part_are_held_down() -> None:
    groups = np.array([0] * 100 + [1] + [2])
    weights = sampling_weights(np.array([0] * 101 + [1]), groups, np.zeros(102, int), RECIPE)
    assert weights[:100].sum() / weights[100] == pytest.approx(100**0.4)


def test_sources_are_drawn_as_asked() -> None:
    sources, recipe = np.array([0] * 10 + [1] * 90), Recipe(source_shares=(0.8, 0.2))
    weights = sampling_weights(np.zeros(100, int), np.arange(100), sources, recipe)
    assert weights[sources == 0].sum() == pytest.approx(0.8)


def test_a_source_without_a_share_is_an_error() -> None:
    with pytest.raises(DataError, match="source_shares"):
        sampling_weights(np.zeros(2, int), np.arange(2), np.array([0, 1]), Recipe(source_shares=(1.0,)))


def test_threads_do_not_change_the_batches() -> None:
    one, three = (list(made_ahead(SAMPLER.batch, 0, 7, threads)) for threads in (1, 3))
    assert len(one) == len(three) == 7
    assert all(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(one, three, strict=True))


def test_pictures_are_standardised_as_on_the_device() -> None:
    pictures = SAMPLER.batch(0)[0]
    assert pictures.shape == (4, 64, 64, 1)
    assert pictures.mean(axis=(1, 2, 3)) == pytest.approx(np.zeros(4), abs=1e-4)


def test_a_plain_picture_keeps_its_pixels() -> None:
    still = Augment(plain_share=1, light_share=0, lamp_share=0, blur_share=0, noise_share=0)
    part = draw_ring(1, 64)
    varied = augment(part, np.random.default_rng(0), still)
    assert np.array_equal(np.sort(varied, axis=None), np.sort(part, axis=None))


def test_a_drawn_defect_changes_a_small_share_of_the_picture_and_its_place_is_told() -> None:
    part = draw_ring(1)
    for seed in range(20):
        drawn, where = draw_defects(part, np.random.default_rng(seed), on_a_part(300))
        near = cv2.dilate(where, np.ones((9, 9), np.uint8)) > 0
        assert 0 < (drawn != part).mean() < 0.1
        assert not ((drawn != part) & ~near).any()


def test_a_good_part_with_a_drawn_defect_is_defective_and_its_places_are_known() -> None:
    recipe = RECIPE.model_copy(update={"augment": Augment(draw_share=1)})
    _, targets, evidence = replace(SAMPLER, targets=np.ones(4, int), recipe=recipe).batch(0)
    assert (targets.argmax(1) == 0).all()
    assert ((evidence == 1).sum((1, 2)) > 0).any()
    assert ((evidence == -1).sum((1, 2)) > 0).all()


def test_a_good_part_as_it_is_is_known_to_be_free_of_defects_everywhere() -> None:
    recipe = RECIPE.model_copy(update={"augment": Augment(draw_share=0)})
    _, targets, evidence = replace(SAMPLER, targets=np.ones(4, int), recipe=recipe).batch(0)
    assert (targets.argmax(1) == 1).all()
    assert (evidence == -1).all()


def test_of_a_defective_part_only_a_share_of_its_places_is_taken_for_free_of_defects() -> None:
    recipe = RECIPE.model_copy(update={"augment": Augment(draw_share=0)})
    sampler = replace(SAMPLER, targets=np.zeros(4, int), recipe=recipe)
    steps = recipe.epochs * recipe.steps_per_epoch
    assert (sampler.batch(0)[2] == np.float32(recipe.free_from)).all()
    assert (sampler.batch(steps)[2] == np.float32(recipe.free_to)).all()


def test_round_parts_are_shown_unwrapped_from_any_angle() -> None:
    parts = [draw_ring(seed) for seed in range(4)]
    openings = tuple(opening for opening in map(find_opening, parts) if opening is not None)
    still = Augment(light_share=0, lamp_share=0, blur_share=0, noise_share=0, draw_share=0)
    recipe = Recipe(batch=4, augment=still)
    sampler = replace(SAMPLER, pixels=np.stack(parts), recipe=recipe, openings=openings)
    pictures = sampler.batch(0)[0][..., 0]
    # The opening is as dark from end to end; the flank beside it is not as bright from end to end.
    assert len(openings) == 4
    assert np.abs(pictures[:, 20:50]).max() < 0.1
    assert (np.abs(pictures[:, 75:140]).max(axis=(1, 2)) > 0.3).all()


def _loss(evidence: float, defective: float) -> float:
    """Of maps that say ``defective`` (log-odds) everywhere, under evidence that is the same everywhere."""
    maps = np.zeros((1, 3, 3, 2), np.float32)
    maps[..., 0] = defective
    return float(evidence_loss(GOOD)(np.full((1, 3, 3), evidence, np.float32), maps)[0])


def test_places_free_of_defects_are_held_down_and_drawn_ones_up() -> None:
    assert _loss(-1, defective=-5) == _loss(1, defective=5) < 0.01
    assert _loss(-1, defective=5) == _loss(1, defective=-5) > 4
    assert _loss(0, defective=5) == _loss(0, defective=-5) == 0


def test_the_strongest_places_of_a_defective_part_are_not_held_down() -> None:
    maps = np.full((1, 3, 3, 2), -5, np.float32)
    maps[..., 1] = 0
    maps[0, 1, 1, 0] = 9
    loss = evidence_loss(GOOD)
    assert float(loss(np.full((1, 3, 3), 0.8, np.float32), maps)[0]) < 0.01
    assert float(loss(np.full((1, 3, 3), -1, np.float32), maps)[0]) > 0.9


def test_rings_are_unwrapped_where_all_but_a_few_pictures_have_an_opening(tmp_path: Path) -> None:
    for seed in range(8):
        write(tmp_path / ("ok" if seed % 2 else "def") / f"{seed}.png", draw_ring(seed))
    data = load(find_files(tmp_path), 300, "letterbox")
    assert len(with_openings(data, "auto").openings) == 8
    assert with_openings(data, "none").openings == ()
    write(tmp_path / "ok" / "blank.png", np.full((300, 300), 128, np.uint8))
    data = load(find_files(tmp_path), 300, "letterbox")
    assert with_openings(data, "auto").openings == ()
    ring = with_openings(data, "ring")
    assert [skipped.path.name for skipped in ring.unreadable] == ["blank.png"]
    assert len(ring.openings) == len(ring.files) == len(ring.pixels) == len(ring.targets) == 8


def test_a_ring_may_be_cut_by_the_border_but_the_part_keeps_its_place() -> None:
    part = draw_ring(3)
    opening = find_opening(part)
    assert opening is not None
    still = Augment(light_share=0, lamp_share=0, blur_share=0, noise_share=0, draw_share=0, cut_share=1, shift=0.1)
    sampler = replace(SAMPLER, pixels=part[None].repeat(4, 0), openings=(opening,) * 4)
    whole = replace(sampler, recipe=Recipe(batch=4, augment=still.model_copy(update={"cut_share": 0.0}))).batch(0)[0]
    cut = replace(sampler, recipe=Recipe(batch=4, augment=still)).batch(0)[0]
    assert not np.allclose(whole, cut, atol=0.5)
    assert np.abs(cut[:, 20:50]).max() < 0.1  # of a part that lost its place the opening's edge would lie here


def test_a_ring_is_laid_in_two_halves_so_the_size_is_even() -> None:
    assert Recipe(size=65, unwrap="none").size == 65
    with pytest.raises(ValidationError, match="size: expected an even one, or unwrap: none"):
        Recipe(size=65)
