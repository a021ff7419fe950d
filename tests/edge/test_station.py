"""The loop: exactly one verdict a part, before its deadline, whatever happens."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_qc.capture.base import Camera, Shot
from edge_qc.domain import FileStamp, Frame, Outcome, Part, Unusable
from edge_qc.errors import CaptureError
from edge_qc.inspector import Inspector
from edge_qc.station import Health, Identity, Station
from edge_qc.trigger.base import Parts
from edge_qc.trigger.every_frame import EveryFrame
from fakes import FakeCamera, FakeClassifier, FakeRecords, FakeSignal, frame, part
from support import wait_until


class _Parts:
    """A trigger that gives the parts it was made with."""

    def __init__(self, *parts: Part | None) -> None:
        self._parts = parts

    def parts(self, camera: Camera) -> Parts:
        yield from self._parts


class _Line:
    def __init__(
        self, *parts: Part | None, score: float | Callable[[Frame], float] = 0.0, max_frame_age_ms: int | None = None
    ) -> None:
        self.signal, self.records = FakeSignal(), FakeRecords()
        self.camera = FakeCamera()
        self.health = Health(self.signal)
        inspector = Inspector(lambda _: None, FakeClassifier(score), ("ok_front",), 0.5, 0.5)
        who = Identity("abcd1234", "line1/cam1", "fake-1.0.0")
        self.station = Station(
            who,
            self.camera,
            _Parts(*parts),
            inspector,
            self.signal,
            self.records,
            self.health,
            max_frame_age_ms=max_frame_age_ms,
        )

    def run(self) -> None:
        self.station.run(threading.Event())


def test_each_part_gets_one_verdict_that_is_sent_and_kept() -> None:
    line = _Line(part(1), part(2), score=0.9)
    line.run()
    assert [i.part.seq for i in line.signal.sent] == [1, 2]
    assert line.records.outcomes == [Outcome.REJECT, Outcome.REJECT]


def test_a_model_that_hangs_does_not_keep_the_verdict_past_the_deadline() -> None:
    free = threading.Event()
    line = _Line(part(1, deadline_ms=400), score=lambda _: float(not free.wait(10)))
    thread = threading.Thread(target=line.run)
    thread.start()
    wait_until(lambda: line.records.kept)
    inspection, signalled = line.records.kept[0]
    free.set()
    thread.join()
    assert (inspection.verdict.outcome, inspection.verdict.reason) == (Outcome.NOT_INSPECTED, "deadline")
    assert signalled == "sent"
    assert inspection.decided_ns < inspection.part.deadline_ns
    assert len(line.records.kept) == 1  # what the model said in the end is nobody's verdict


def test_a_verdict_after_the_deadline_is_no_verdict() -> None:
    late = part(1, deadline_ms=0)
    line = _Line(late)
    line.run()
    assert line.signal.sent == []
    assert line.records.outcomes == [Outcome.NOT_INSPECTED]
    assert line.records.kept[0][1] == "expired"


def test_the_heartbeat_beats_while_no_part_comes() -> None:
    line = _Line(None, part(1), None)
    line.run()
    assert line.signal.beats


def test_the_heartbeat_stops_with_the_loop() -> None:
    free = threading.Event()
    line = _Line(None, part(1, deadline_ms=60_000), score=lambda _: float(not free.wait(10)))
    thread = threading.Thread(target=line.run)
    thread.start()
    wait_until(lambda: line.signal.beats)
    beats = len(line.signal.beats)
    time.sleep(0.5)  # two beats and a half
    assert len(line.signal.beats) == beats
    free.set()
    thread.join()


def test_the_camera_is_closed_and_the_stop_noted_also_when_the_source_is_lost() -> None:
    line = _Line()
    line.station._trigger = EveryFrame("fake", 1000)
    line.station._camera = camera = FakeCamera(Shot(frame()), CaptureError("unplugged"))
    with pytest.raises(CaptureError):
        line.run()
    assert camera.closed == 1
    assert [kind for kind, _ in line.records.events] == ["start", "stop"]
    assert line.records.outcomes == [Outcome.OK]


def test_the_station_is_online_once_it_judges_and_degraded_while_something_is_wrong() -> None:
    line = _Line()
    line.run()
    line.health.set("record_fault", wrong=True)
    line.health.set("record_fault", wrong=False)
    assert line.signal.states == [("online", ()), ("degraded", ("record_fault",)), ("online", ())]


def test_every_frame_is_a_part_numbered_without_a_gap_also_the_unusable() -> None:
    shots = [Shot(frame(name="a.png")), Shot(fault=Unusable("unreadable", "cut", "b.png")), Shot(frame())]
    parts = [p for p in EveryFrame("folder", 200).parts(FakeCamera(*shots)) if p]
    assert [(p.seq, p.id) for p in parts] == [(1, "a.png"), (2, "b.png"), (3, "3")]
    assert {p.deadline_ns - p.triggered_ns for p in parts} == {200_000_000}


def test_a_picture_that_is_long_in_coming_does_not_keep_the_verdict_past_the_deadline() -> None:
    """A file on a share that hangs, or a huge one that is decoded: the part is known to the guard before it is read."""
    free = threading.Event()
    shot = Shot(frame(), stamp=FileStamp("/in/a.png", 1, 1))

    def read() -> Shot:
        free.wait(10)
        return shot

    line = _Line()
    line.station._trigger = EveryFrame("folder", 400)
    line.station._camera = FakeCamera(Shot(stamp=shot.stamp, load=read))
    thread = threading.Thread(target=line.run)
    thread.start()
    wait_until(lambda: line.signal.sent)
    free.set()
    thread.join()
    (inspection,) = line.signal.sent
    assert (inspection.part.id, inspection.verdict.reason) == ("a.png", "deadline")
    assert inspection.decided_ns < inspection.part.deadline_ns
    assert inspection.part.stamp == shot.stamp  # it is on record, and not given again
    assert len(line.records.kept) == 1


def test_a_picture_that_came_in_time_is_judged() -> None:
    line = _Line(score=0.9)
    line.station._trigger = EveryFrame("folder", 1000)
    line.station._camera = FakeCamera(Shot(load=lambda: Shot(frame(name="a.png"))))
    line.run()
    assert line.records.outcomes == [Outcome.REJECT]
    assert line.records.kept[0][0].part.frame is not None


def test_a_picture_that_is_too_old_is_not_judged() -> None:
    old = replace(frame(), captured_ns=time.monotonic_ns() - 60_000_000_000)
    line = _Line(replace(part(), frame=old), part(2), max_frame_age_ms=30_000)
    line.run()
    assert [(i.verdict.outcome, i.verdict.reason) for i, _ in line.records.kept] == [
        (Outcome.NOT_INSPECTED, "stale_frame"),
        (Outcome.OK, "good"),
    ]


def test_a_part_in_hand_when_the_line_breaks_still_gets_its_verdict() -> None:
    def breaks(_: Frame) -> float:
        raise ZeroDivisionError

    line = _Line(part(1), score=breaks)
    with pytest.raises(ZeroDivisionError):
        line.run()
    assert [i.verdict.reason for i in line.signal.sent] == ["stopped"]


def test_the_heartbeat_tells_of_the_last_part_that_has_its_verdict() -> None:
    line = _Line(part(1), part(2), None)
    line.station._beat_s = float("inf")  # not before the last
    line.run()
    line.station._beat_s = 0.0
    line.station._progress()
    assert line.signal.beats == [2]
