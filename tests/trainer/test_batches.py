"""What the network is shown."""

import numpy as np
import pytest

from edge_qc_trainer.augment import augment, draw_defects
from edge_qc_trainer.batches import Sampler, made_ahead, sampling_weights
from edge_qc_trainer.config import Augment, Recipe
from edge_qc_trainer.errors import DataError
from ring_parts import draw_ring

RECIPE = Recipe(size=64, batch=4)
SAMPLER = Sampler(
    np.stack([draw_ring(s, 64) for s in range(4)]), np.array([0, 1, 0, 1]), np.full(4, 0.25), 2, RECIPE, 0
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
    pictures, _ = SAMPLER.batch(0)
    assert pictures.shape == (4, 64, 64, 1)
    assert pictures.mean(axis=(1, 2, 3)) == pytest.approx(np.zeros(4), abs=1e-4)


def test_a_plain_picture_keeps_its_pixels() -> None:
    still = Augment(plain_share=1, light_share=0, lamp_share=0, blur_share=0, noise_share=0)
    part = draw_ring(1, 64)
    varied = augment(part, np.random.default_rng(0), still)
    assert np.array_equal(np.sort(varied, axis=None), np.sort(part, axis=None))


def test_a_drawn_defect_changes_a_small_share_of_the_picture() -> None:
    part = draw_ring(1)
    shares = [(draw_defects(part, np.random.default_rng(seed)) != part).mean() for seed in range(20)]
    assert 0 < min(shares) <= max(shares) < 0.1
