"""No part stands in two of training, validation and held-out."""

import numpy as np
import pytest

from edge_qc_trainer.convert import choose_calibration
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.split import Split, split_by_group

NOTHING = np.array([], np.int64)
GROUPS = np.repeat(np.arange(40), np.random.default_rng(0).integers(1, 20, 40))
TARGETS = (GROUPS % 3 == 0).astype(np.int64)


def split(seed: int = 0) -> Split:
    return split_by_group(TARGETS, GROUPS, NOTHING, held_out=0.15, validation=0.15, seed=seed)


@pytest.mark.parametrize("seed", range(5))
def test_no_group_stands_in_two_sets(seed: int) -> None:
    sets = split(seed)
    names = [set(GROUPS[places]) for places in (sets.train, sets.validation, sets.held_out)]
    assert not (names[0] & names[1] | names[0] & names[2] | names[1] & names[2])


def test_every_picture_stands_in_one_set() -> None:
    sets = split()
    assert sorted([*sets.train, *sets.validation, *sets.held_out]) == list(range(len(GROUPS)))


def test_every_set_has_every_class() -> None:
    sets = split()
    assert all(set(TARGETS[places]) == {0, 1} for places in (sets.train, sets.validation, sets.held_out))


def test_another_seed_holds_out_other_parts() -> None:
    assert len({tuple(split(seed).held_out) for seed in range(8)}) > 1


def test_a_given_test_set_is_held_out_as_it_is() -> None:
    fixed = np.flatnonzero(GROUPS < 6)
    sets = split_by_group(TARGETS, GROUPS, fixed, held_out=0.15, validation=0.15, seed=0)
    assert np.array_equal(sets.held_out, fixed)


def test_a_part_of_the_given_test_set_does_not_choose_the_epoch() -> None:
    fixed = np.flatnonzero(GROUPS < 20)[::2]
    sets = split_by_group(TARGETS, GROUPS, fixed, held_out=0.15, validation=0.15, seed=0)
    assert not set(GROUPS[sets.validation]) & set(GROUPS[fixed])


def test_a_class_with_one_part_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DataError, match="Photograph more parts"):
        split_by_group(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]), NOTHING, held_out=0.2, validation=0.2, seed=0)


def test_calibration_takes_every_part_before_a_second_copy() -> None:
    targets, groups = np.repeat([0, 1], 400), np.arange(800) // 2
    chosen = choose_calibration(np.arange(800), targets, groups, seed=0)
    assert len(chosen) == len(set(groups[chosen])) == 300


def test_calibration_takes_none_but_the_candidates() -> None:
    candidates = np.arange(0, len(GROUPS), 2)
    assert set(choose_calibration(candidates, TARGETS, GROUPS, seed=0)) <= set(candidates)
