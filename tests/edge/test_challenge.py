"""Challenge parts: what passes, what fails, what is missed, when the next is due, and what a restart remembers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edge_qc.challenge import Challenge, Expected, Kind, Past
from edge_qc.domain import Inspection, Outcome
from fakes import inspection

NOW = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
HOUR_S = 3600.0


class _Station:
    """A challenge with clocks that are set by hand."""

    def __init__(self, every_h: float = 0, past: Past | None = None, deadline_ms: int = 1000) -> None:
        self.now_ns = 10**15
        self.challenge = Challenge(every_h, deadline_ms, past or Past(), lambda: self.now_ns, lambda: NOW)

    def after(self, seconds: float) -> list[Kind]:
        self.now_ns += int(seconds * 1e9)
        return [change.kind for change in self.challenge.look()]

    def part(self, outcome: Outcome, *, triggered_s_ago: float = 0) -> Inspection:
        made = inspection(outcome, seq=7, part_id="A-7")
        return replace(made, part=replace(made.part, triggered_ns=self.now_ns - int(triggered_s_ago * 1e9)))

    def judge(self, outcome: Outcome, *, triggered_s_ago: float = 0) -> Kind | None:
        change = self.challenge.judged(self.part(outcome, triggered_s_ago=triggered_s_ago))
        return None if change is None else change.kind

    def expect(self, expected: Expected = "reject", within_s: float = 60) -> bool:
        return self.challenge.expect("c-1", expected, within_s)


@pytest.mark.parametrize("expected", ["reject", "ok"])
@pytest.mark.parametrize("outcome", Outcome)
def test_only_the_very_verdict_that_was_expected_passes(expected: Expected, outcome: Outcome) -> None:
    station = _Station()
    assert station.expect(expected)
    passes = outcome.value == expected
    assert station.judge(outcome) is (Kind.PASSED if passes else Kind.FAILED)
    assert station.challenge.wrong == (set() if passes else {Kind.FAILED})


def test_the_event_names_command_part_and_both_verdicts() -> None:
    station = _Station()
    station.expect()
    change = station.challenge.judged(station.part(Outcome.OK))
    assert change is not None
    for word in ("command c-1", "part A-7", "abcd1234-7", "expected reject", "got ok"):
        assert word in change.detail


def test_only_the_next_part_is_the_challenge_part() -> None:
    station = _Station()
    assert station.judge(Outcome.REJECT) is None
    station.expect()
    assert station.judge(Outcome.REJECT) is Kind.PASSED
    assert station.judge(Outcome.OK) is None


def test_a_part_that_was_there_before_the_command_is_none() -> None:
    station = _Station()
    station.expect()
    assert station.judge(Outcome.OK, triggered_s_ago=0.1) is None
    assert station.judge(Outcome.REJECT) is Kind.PASSED


def test_a_failure_stands_until_a_challenge_is_passed() -> None:
    station = _Station()
    station.expect()
    station.judge(Outcome.OK)
    station.expect(within_s=5)
    assert station.after(7) == [Kind.MISSED]
    assert station.challenge.wrong == {Kind.FAILED, Kind.MISSED}
    station.expect()
    station.judge(Outcome.REJECT)
    assert station.challenge.wrong == set()


def test_no_part_within_the_time_is_a_missed_challenge_said_once() -> None:
    station = _Station(deadline_ms=1000)
    station.expect(within_s=60)
    assert station.after(60.9) == []  # a part that came in time may still be judged
    assert station.after(0.2) == [Kind.MISSED]
    assert station.after(100) == []


def test_a_part_in_the_last_moment_counts_and_one_after_it_is_like_any_other() -> None:
    station = _Station()
    station.expect(within_s=60)
    station.after(60.5)
    assert station.judge(Outcome.REJECT, triggered_s_ago=0.4) is None
    assert station.judge(Outcome.REJECT, triggered_s_ago=0.6) is Kind.PASSED
    assert station.after(10) == []


def test_while_one_is_awaited_no_other_can_be() -> None:
    station = _Station()
    assert station.expect()
    assert not station.expect()
    assert station.after(100) == [Kind.MISSED]
    assert station.expect()


def test_a_station_that_needs_none_is_never_due() -> None:
    assert _Station(every_h=0).after(1000 * HOUR_S) == []


def test_a_station_that_never_passed_one_is_due_at_once_and_says_it_once() -> None:
    station = _Station(every_h=8)
    assert station.after(0.1) == [Kind.DUE]
    assert station.after(HOUR_S) == []


def test_a_shift_after_the_last_passed_one_it_is_due_again() -> None:
    station = _Station(every_h=8)
    station.after(1)
    station.expect()
    station.judge(Outcome.REJECT)
    assert station.challenge.wrong == set()
    assert station.after(7.9 * HOUR_S) == []
    assert station.after(0.2 * HOUR_S) == [Kind.DUE]


def test_a_failed_challenge_is_none_that_the_shift_has_had() -> None:
    station = _Station(every_h=8)
    station.after(1)
    station.expect()
    station.judge(Outcome.OK)
    assert station.challenge.wrong == {Kind.DUE, Kind.FAILED}


def test_a_restart_goes_on_with_the_time_since_the_last_passed_one() -> None:
    station = _Station(every_h=8, past=Past(NOW - timedelta(hours=6)))
    assert station.after(1.9 * HOUR_S) == []
    assert station.after(0.2 * HOUR_S) == [Kind.DUE]


def test_one_that_was_passed_in_the_future_says_nothing_for_the_clock_is_wrong() -> None:
    assert _Station(every_h=8, past=Past(NOW + timedelta(hours=1))).after(0.1) == [Kind.DUE]


def test_a_failure_outlives_a_restart_unless_a_later_one_was_passed() -> None:
    early, late = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
    failed = Past.of([("challenge_passed", early), ("challenge_failed", late)])
    assert (failed.passed_at, _Station(past=failed).challenge.wrong) == (early, {Kind.FAILED})
    passed = Past.of([("challenge_failed", early), ("challenge_due", early), ("challenge_passed", late)])
    assert (passed.passed_at, _Station(past=passed).challenge.wrong) == (late, set())
