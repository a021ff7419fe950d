"""How far a figure can be trusted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from edge_qc_trainer.intervals import bootstrap, escape_ppm, middle_95, parts_needed, proportion, upper_bound


@given(st.integers(1, 500).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_whole_counts_have_clopper_and_pearsons_interval(count_of: tuple[int, int]) -> None:
    expected = binomtest(*count_of).proportion_ci(0.95, method="exact")
    assert proportion(*count_of)["ci95"] == pytest.approx([expected.low, expected.high], abs=1e-9)


@given(st.integers(1, 200), st.floats(0, 1))
def test_a_share_of_a_part_lies_between_none_and_the_whole_of_it(of: int, share: float) -> None:
    assert upper_bound(0, of, 0.95) <= upper_bound(share, of, 0.95) <= upper_bound(1, of, 0.95)


@pytest.mark.parametrize(("rate", "parts"), [(0.01, 299), (0.05, 59), (0.02, 149)])
def test_parts_needed_are_the_fewest_that_show_the_rate(rate: float, parts: int) -> None:
    assert parts_needed(rate) == parts
    assert upper_bound(0, parts, 0.95) <= rate < upper_bound(0, parts - 1, 0.95)


def test_ppm_of_a_hand_computed_line() -> None:
    # Of 10,000 parts 200 are defective, of which 4 pass; of 9,800 good ones 9,702 pass.
    assert escape_ppm(0.02, 0.02, 0.99) == pytest.approx(1e6 * 4 / (4 + 9702))


def test_no_escapes_are_none_in_a_million() -> None:
    assert escape_ppm(0.02, 0.0, 0.99) == 0


def test_nothing_shipped_is_no_escape() -> None:
    assert escape_ppm(0.02, 0.0, 0.0) == 0


def test_the_bootstrap_draws_each_stratum_to_its_size() -> None:
    strata = np.array([0] * 30 + [1] * 7)
    sums = bootstrap({"first": (strata == 0) * 1.0, "second": (strata == 1) * 1.0}, strata, seed=3)
    assert set(sums["first"]) == {30}
    assert set(sums["second"]) == {7}


def test_the_bootstrap_finds_the_spread_of_a_share() -> None:
    wrong = np.array([1.0] * 10 + [0.0] * 90)
    shares = bootstrap({"wrong": wrong}, np.zeros(100, int), seed=0)["wrong"] / 100
    assert shares.mean() == pytest.approx(0.1, abs=0.003)
    assert shares.std() == pytest.approx(np.sqrt(0.1 * 0.9 / 100), rel=0.05)
    assert middle_95(shares) == pytest.approx([0.04, 0.16], abs=0.011)


def test_the_same_seed_draws_the_same_parts() -> None:
    wrong, strata = np.array([1.0] * 5 + [0.0] * 20), np.zeros(25, int)
    one, two, other = (bootstrap({"wrong": wrong}, strata, seed)["wrong"] for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
