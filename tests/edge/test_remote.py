"""Parts told of from outside: what a trigger may say, and which picture is whose."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.capture.base import Shot
from edge_qc.deadline import DeadlineGuard
from edge_qc.domain import Frame, Outcome, Part, Unusable, Verdict
from edge_qc.domain import Inspection as Inspected
from edge_qc.errors import CaptureError
from edge_qc.signal.inbound import Malformed
from edge_qc.signal.mqtt import MAX_PAYLOAD_BYTES, encode
from edge_qc.trigger.message import MAX_ID_LETTERS, TriggerMessage, read_trigger
from edge_qc.trigger.remote import RemoteTrigger
from fakes import FakeCamera, grey, part

MS = 1_000_000


def _shot(captured_ns: int) -> Shot:
    return Shot(Frame(grey(), 1, captured_ns, datetime.now(UTC), "fake"))


class _Told:
    """A trigger, the events that it tells of, and the parts that come of it."""

    def __init__(self, *shots: Shot | Exception) -> None:
        self.events: list[tuple[str, str]] = []
        self.now_ns = time.monotonic_ns()
        self.trigger = RemoteTrigger(
            "fake", 1000, DeadlineGuard(), on_event=lambda *e: self.events.append(e), clock=lambda: self.now_ns
        )
        self._shots = shots

    def hear(self, payload: bytes, *, retained: bool = False, duplicate: bool = False, after_s: float = 0) -> None:
        self.now_ns += int(after_s * 1e9)
        self.trigger.hear(TriggerMessage(payload, self.now_ns, retained, duplicate))

    @property
    def parts(self) -> list[Part]:
        """All parts, once the camera has given what it has."""
        return [one for one in self.trigger.parts(FakeCamera(*self._shots)) if one is not None]

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


def test_a_part_goes_by_the_id_of_its_message_else_by_its_number() -> None:
    told = _Told()
    for payload in (b'{"part": "A-1041"}', b"", b'{"part": 7, "line": 2}'):
        told.hear(payload)
    assert [(p.seq, p.id) for p in told.parts] == [(1, "A-1041"), (2, "2"), (3, "7")]
    assert told.events == []


MALFORMED = {
    "no JSON": b"part A",
    "no object": b'"A-1041"',
    "no part": b"{}",
    "part is null": b'{"part": null}',
    "part is a fraction": b'{"part": 1.5}',
    "part is true": b'{"part": true}',
    "part is empty": b'{"part": ""}',
    "not printable": b'{"part": "A\\n1041"}',
    "a lone surrogate": b'{"part": "\\ud800"}',
    "an id too long": json.dumps({"part": "A" * (MAX_ID_LETTERS + 1)}).encode(),
    "a message too long": b'{"part": "A", "x": "' + b"x" * 4096 + b'"}',
    "nested without end": b"[" * 4000,
    "no UTF-8": b'{"part": "\xff"}',
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED.keys())
def test_whatever_a_message_says_a_part_is_there(payload: bytes) -> None:
    told = _Told()
    told.hear(payload)
    assert [(p.seq, p.id) for p in told.parts] == [(1, "1")]
    assert told.kinds == ["malformed_trigger"]


ids = st.text(max_size=80) | st.integers(-(10**70), 10**70)


@given(st.binary(max_size=200) | ids.map(lambda part: json.dumps({"part": part}).encode()))
def test_an_id_is_read_or_refused_and_one_that_is_read_fits_into_the_verdict(payload: bytes) -> None:
    try:
        read = read_trigger(payload)
    except Malformed:
        return
    made = replace(part(2**31), id=read or "x")
    longest = Verdict(Outcome.NOT_INSPECTED, "challenge_too_long_for_it", "a_label_of_some_length", 0.12345)
    said = Inspected(
        "abcd1234", made, longest, None, made.deadline_ns, datetime.now(UTC), "a-model-with-a-name-10.10.10"
    )
    data = encode(said.payload())
    assert len(data) <= MAX_PAYLOAD_BYTES
    assert json.loads(data)["part"] == made.id  # not cut


def test_a_message_that_is_delivered_again_is_one_part() -> None:
    told = _Told()
    told.hear(b'{"part": "A"}')
    told.hear(b'{"part": "A"}', duplicate=True)
    assert [p.id for p in told.parts] == ["A"]
    assert told.events == []


def test_a_message_that_is_delivered_again_but_was_never_heard_is_a_part() -> None:
    told = _Told()
    told.hear(b'{"part": "A"}', duplicate=True)
    told.hear(b"", duplicate=True)
    assert [p.id for p in told.parts] == ["A", "2"]


def test_an_id_that_is_said_anew_is_another_part_and_an_event() -> None:
    told = _Told()
    told.hear(b'{"part": "A"}')
    told.hear(b'{"part": "A"}', after_s=59)
    told.hear(b'{"part": "A"}', after_s=61)  # numbers may begin anew
    assert [(p.seq, p.id) for p in told.parts] == [(1, "A"), (2, "A"), (3, "A")]
    assert told.kinds == ["repeated_part"]


def test_a_retained_message_is_no_part_but_an_event() -> None:
    told = _Told()
    told.hear(b'{"part": "A"}', retained=True)
    assert told.parts == []
    assert told.kinds == ["retained_trigger"]


def test_a_flood_of_nonsense_is_told_once_a_second_with_its_count() -> None:
    told = _Told()
    for _ in range(50):
        told.hear(b"?")
    told.hear(b"?", after_s=1)
    assert told.kinds == ["malformed_trigger"] * 2
    assert "(49 more before it)" in told.events[1][1]
    assert len(told.parts) == 51


def _fired(*at_ms: int, shots_ms: tuple[int, ...]) -> list[tuple[int, int | None]]:
    """Of each part, its number and when its picture was taken, where it has one."""
    told = _Told(*(_shot(ms * MS) for ms in shots_ms))
    for ms in at_ms:
        told.trigger.fire(at_ns=ms * MS)
    return [(p.seq, p.frame.captured_ns // MS if p.frame else None) for p in told.parts]


def test_the_picture_of_a_part_is_the_first_that_was_taken_after_its_trigger() -> None:
    assert _fired(100, shots_ms=(60, 99, 130, 160)) == [(1, 130)]


def test_a_picture_taken_at_the_very_trigger_counts() -> None:
    assert _fired(100, shots_ms=(100,)) == [(1, 100)]


def test_a_picture_belongs_to_the_last_part_triggered_before_it_and_to_no_other() -> None:
    assert _fired(100, 110, 120, shots_ms=(130, 160)) == [(1, None), (2, None), (3, 130)]


def test_a_part_that_was_triggered_after_a_picture_waits_for_the_next() -> None:
    assert _fired(100, 140, shots_ms=(130, 160)) == [(1, 130), (2, 160)]


@given(st.lists(st.integers(0, 200), max_size=12), st.lists(st.integers(0, 250), max_size=12))
def test_no_picture_is_older_than_its_trigger_or_shared_or_a_later_parts(at: list[int], shots: list[int]) -> None:
    at, shots = sorted(at), sorted(set(shots))
    got = _fired(*at, shots_ms=tuple(shots))
    assert [seq for seq, _ in got] == list(range(1, len(at) + 1))
    taken = [ms for _, ms in got if ms is not None]
    assert len(set(taken)) == len(taken)
    for (_, ms), trigger, following in zip(got, at, [*at, 10_000][1:], strict=True):
        own = [shot for shot in shots if trigger <= shot < following]
        assert ms == (own[0] if own else None)


def test_a_part_without_a_picture_says_why() -> None:
    told = _Told(_shot(130 * MS))
    told.trigger.fire("A", at_ns=100 * MS)
    told.trigger.fire("B", at_ns=110 * MS)
    told.trigger.fire("C", at_ns=200 * MS)
    faults = [(p.id, p.fault.reason, p.fault.detail) for p in told.parts if p.fault]
    assert faults == [
        ("A", "no_frame", "part B was triggered before a picture of this one was taken"),
        ("C", "no_frame", "the source has ended"),
    ]


def test_a_camera_that_is_lost_gives_the_parts_that_wait_their_fault_and_then_raises() -> None:
    told = _Told(CaptureError("unplugged"))
    told.trigger.fire("A")
    parts = told.trigger.parts(FakeCamera(*told._shots))
    assert next(p for p in parts if p is not None).fault == Unusable("no_frame", "unplugged")
    with pytest.raises(CaptureError, match="unplugged"):
        list(parts)


class _RunningCamera(FakeCamera):
    """Gives a picture whenever it is asked, until it is told to hang."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.reads, self.ends = threading.Event(), 0, False
        self.go.set()

    def read(self, timeout_s: float) -> Shot | None:
        self.reads += 1
        self.go.wait()
        time.sleep(0.002)
        return _shot(time.monotonic_ns())


def _until(true: Callable[[], bool], parts: "RemoteTrigger", camera: _RunningCamera) -> list[Part]:
    found: list[Part] = []
    stream = parts.parts(camera)
    for one in stream:
        found += [one] if one is not None else []
        if true():
            break
    stream.close()
    return found


def test_the_camera_is_read_all_the_time_so_that_a_part_gets_a_picture_of_now() -> None:
    camera, trigger = _RunningCamera(), RemoteTrigger("fake", 1000, DeadlineGuard())
    threading.Timer(0.05, trigger.fire).start()
    parts = trigger.parts(camera)
    one = next(part for part in parts if part is not None)
    parts.close()
    assert camera.reads > 5
    assert one.frame is not None
    assert 0 <= one.frame.captured_ns - one.triggered_ns < 500 * MS


def test_once_the_loop_ends_the_camera_is_read_no_more() -> None:
    camera, trigger = _RunningCamera(), RemoteTrigger("fake", 1000, DeadlineGuard())
    _until(lambda: camera.reads > 3, trigger, camera)
    reads = camera.reads
    time.sleep(0.05)
    assert camera.reads == reads


def test_the_loop_hears_that_no_part_came_while_the_camera_hangs() -> None:
    camera, trigger = _RunningCamera(), RemoteTrigger("fake", 1000, DeadlineGuard())
    camera.go.clear()
    stream = trigger.parts(camera)
    assert [next(stream), next(stream)] == [None, None]
    camera.go.set()
    stream.close()


def test_parts_that_were_given_up_do_not_hold_their_pictures_behind_a_loop_or_a_camera_that_hangs() -> None:
    told = _Told()
    for _ in range(200):
        told.trigger.fire("waits for the camera")
        told.trigger._waiting[-1].take()
    assert len(told.trigger._waiting) == 1
    for _ in range(200):
        told.trigger.fire("waits for the loop")
        told.trigger._take(_shot(told.now_ns))
        told.trigger._line._ready[-1].take()
    assert len(told.trigger._line._ready) == 1
