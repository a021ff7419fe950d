"""Following what the PLC has acted on."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.signal.acks import AckFollower


class _Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _follower() -> tuple[AckFollower, _Clock]:
    clock = _Clock()
    return AckFollower("abcd1234", 1.0, clock), clock


def _ack(seq: int, session: str = "abcd1234") -> bytes:
    return json.dumps({"session": session, "seq": seq}).encode()


def test_a_plc_that_never_acknowledges_is_not_missed() -> None:
    follower, clock = _follower()
    follower.sent(1)
    clock.now_s = 10
    assert follower.missing() is None


def test_a_plc_that_stops_acknowledging_is_missed_once() -> None:
    follower, clock = _follower()
    follower.sent(1)
    follower.heard(_ack(1))
    follower.sent(2)
    clock.now_s = 0.9
    assert follower.missing() is None
    clock.now_s = 1.1
    assert [follower.missing() for _ in range(3)] == [2, None, None]


def test_after_it_has_caught_up_it_is_missed_anew() -> None:
    follower, clock = _follower()
    follower.heard(_ack(1))
    for seq in (2, 3):
        follower.sent(seq)
        clock.now_s += 2
        assert follower.missing() == seq
        follower.heard(_ack(seq))
        assert follower.missing() is None


def test_an_acknowledgement_of_another_session_is_none_of_ours() -> None:
    follower, _ = _follower()
    assert follower.heard(_ack(7, "other")) is None
    assert follower.last_acknowledged == 0


@pytest.mark.parametrize(
    "payload", [b"", b"1", b"[]", b"{}", b"\xff", _ack(1)[:-1], b'{"session":1,"seq":1}', b"x" * 5000]
)
def test_what_is_no_acknowledgement_says_what_was_expected(payload: bytes) -> None:
    follower, _ = _follower()
    assert "expected" in str(follower.heard(payload))


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers(), st.lists).map(json.dumps).map(str.encode))
def test_no_payload_upsets_it(payload: Any) -> None:
    follower, _ = _follower()
    follower.heard(payload)
    assert follower.missing() is None
