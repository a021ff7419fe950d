"""RTSP: the newest picture, its true age, and a camera that loses its power."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.capture.base import EndOfSource
from edge_qc.capture.stream import LiveStream, StreamClock
from edge_qc.domain import Frame
from edge_qc.errors import CaptureError
from rtsp_server import RtspServer
from support import wait_until

MS = 1_000_000


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with RtspServer() as running:
        yield running


def _frame(stream: LiveStream) -> Frame:
    found: list[Frame] = []

    def came() -> bool:
        shot = stream.read(0.2)
        if shot is not None and shot.frame is not None:
            found.append(shot.frame)
        return bool(found)

    wait_until(came)
    return found[-1]


def test_it_gives_the_newest_picture_and_throws_older_ones_away(server: RtspServer) -> None:
    stream = LiveStream(server.url)
    stream.open()
    first = _frame(stream)
    wait_until(lambda: stream._seq > first.seq + 10)
    assert _frame(stream).seq > first.seq + 10
    stream.close()


def test_a_stream_that_breaks_raises_nothing_and_is_taken_up_again(server: RtspServer) -> None:
    wrong: list[tuple[str, bool]] = []
    events: list[str] = []
    stream = LiveStream(
        server.url, on_health=lambda *h: wrong.append(h), on_event=lambda kind, detail: events.append(kind + detail)
    )
    stream.open()
    before = _frame(stream)
    server.stop()
    wait_until(lambda: stream.read(0.01) is None and wrong == [("camera_lost", True)])
    server.start()
    after = _frame(stream)
    stream.close()
    assert after.seq > before.seq
    assert after.captured_ns > before.captured_ns
    assert wrong == [("camera_lost", True), ("camera_lost", False)]
    assert "secret" not in "".join(events)


def test_a_stream_that_falls_silent_is_lost(server: RtspServer) -> None:
    wrong: list[tuple[str, bool]] = []
    stream = LiveStream(server.url, on_health=lambda *h: wrong.append(h))
    stream.open()
    _frame(stream)
    server.mute.set()
    wait_until(lambda: wrong == [("camera_lost", True)])
    stream.close()


def test_once_gives_one_frame(server: RtspServer) -> None:
    stream = LiveStream(server.url, once=True)
    stream.open()
    _frame(stream)
    with pytest.raises(EndOfSource):
        stream.read(0.1)
    stream.close()


def test_an_address_without_an_answer_is_told_without_its_password() -> None:
    stream = LiveStream(RtspServer().url)
    with pytest.raises(CaptureError, match=r"rtsp://…@127") as told:
        stream.open()
    assert "secret" not in str(told.value)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60), st.integers(1, 10_000_000))
def test_a_picture_that_waited_is_as_much_older(waits_ms: list[int], stream_began_ms: int) -> None:
    """Every 40 ms a picture; the network holds each for a while, and the first for none."""
    clock, now_ns = StreamClock(), 5_000_000 * MS
    for i, wait_ms in enumerate([0, *waits_ms]):
        taken_ns = now_ns + i * 40 * MS
        said_ns = clock.captured_ns((stream_began_ms + i * 40) * MS, taken_ns + wait_ms * MS)
        assert said_ns == taken_ns


@given(st.integers(-200, 200), st.integers(100, 1000))
def test_two_clocks_that_run_apart_do_not_make_pictures_old(parts_per_million: int, seconds: int) -> None:
    clock, stream_began_ns, now_ns = StreamClock(), 1000 * MS, 5_000_000 * MS
    for second in range(seconds):
        passed_ns = second * 1000 * MS
        stream_ns = stream_began_ns + passed_ns + passed_ns * parts_per_million // 1_000_000
        age_ns = now_ns + passed_ns - clock.captured_ns(stream_ns, now_ns + passed_ns)
        assert 0 <= age_ns < 20 * MS


def test_a_stream_clock_that_begins_anew_is_followed() -> None:
    clock = StreamClock()
    clock.captured_ns(900_000 * MS, 1_000_000 * MS)
    assert clock.captured_ns(40 * MS, 1_000_040 * MS) == 1_000_040 * MS
