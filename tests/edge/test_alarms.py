"""Alarms over many parts: they go on at their limit, go off well below it, and do not flap."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.alarms import Alarms
from edge_qc.domain import Outcome
from edge_qc.sections import Alarms as Settings

OK, REJECT, UNSURE, NOT_INSPECTED = Outcome.OK, Outcome.REJECT, Outcome.UNSURE, Outcome.NOT_INSPECTED


def _switched(settings: Settings, *outcomes: Outcome) -> list[tuple[int, str, bool]]:
    """The place in the line, from 1, at which each alarm was switched."""
    alarms = Alarms(settings)
    return [(i, change.alarm, change.on) for i, outcome in enumerate(outcomes, 1) for change in alarms.judged(outcome)]


def test_as_they_ship_all_alarms_are_off() -> None:
    assert _switched(Settings(), *[REJECT] * 500, *[NOT_INSPECTED] * 500) == []


def test_so_many_rejects_in_a_row_and_not_one_less() -> None:
    settings = Settings(rejects_in_row=3)
    assert _switched(settings, REJECT, REJECT, OK, REJECT, REJECT, REJECT) == [(6, "rejects_in_row", True)]


@pytest.mark.parametrize("between", [UNSURE, NOT_INSPECTED])
def test_a_part_that_was_not_surely_judged_neither_counts_nor_ends_the_row(between: Outcome) -> None:
    assert _switched(Settings(rejects_in_row=2), REJECT, between, REJECT) == [(3, "rejects_in_row", True)]


def test_the_row_is_over_after_as_many_ok_parts_in_a_row() -> None:
    line = [REJECT] * 3 + [OK, OK, REJECT, OK, OK, OK]
    assert _switched(Settings(rejects_in_row=3), *line) == [(3, "rejects_in_row", True), (9, "rejects_in_row", False)]


@pytest.mark.parametrize(
    ("outcome", "name"),
    [(REJECT, "reject_rate"), (NOT_INSPECTED, "not_inspected_rate")],
    ids=["reject", "not_inspected"],
)
def test_a_rate_goes_on_at_its_limit_and_off_at_half_of_it(outcome: Outcome, name: str) -> None:
    settings = Settings.model_validate({name: 0.4, "window_parts": 10})
    line = [OK] * 6 + [outcome] * 4 + [OK] * 8  # at place 17 two of the last ten are left
    assert _switched(settings, *line) == [(10, name, True), (18, name, False)]


def test_a_rate_does_not_go_on_for_the_first_parts_of_a_day() -> None:
    settings = Settings(reject_rate=0.5, window_parts=10)
    assert _switched(settings, REJECT, REJECT, REJECT, REJECT) == []
    assert _switched(settings, *[REJECT] * 5) == [(5, "reject_rate", True)]  # enough, whatever follows


@given(st.lists(st.sampled_from(Outcome), max_size=400), st.integers(2, 40), st.floats(0.05, 1))
def test_a_rate_counts_what_the_last_parts_were(line: list[Outcome], window: int, limit: float) -> None:
    alarms = Alarms(Settings(reject_rate=limit, window_parts=window))
    on = False
    for end in range(1, len(line) + 1):
        count = line[max(0, end - window) : end].count(REJECT)
        expected = count > limit * window / 2 if on else count >= limit * window
        changes = alarms.judged(line[end - 1])
        assert [change.on for change in changes] == ([expected] if expected != on else [])
        on = expected


@given(st.lists(st.sampled_from(Outcome), max_size=400), st.integers(1, 10))
def test_between_two_switches_of_the_row_lie_as_many_parts_as_make_one(line: list[Outcome], limit: int) -> None:
    places = [place for place, _, _ in _switched(Settings(rejects_in_row=limit), *line)]
    assert all(later - earlier >= limit for earlier, later in pairwise(places))
