"""The record: nothing acknowledged is lost, the disk never stops the line, pictures stay within their room."""

import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_qc.domain import Event, FileStamp, Inspection, Outcome, Prediction, Verdict
from edge_qc.errors import RecordError
from edge_qc.record.evidence import Evidence
from edge_qc.record.outbox import IN_FLIGHT, Outbox
from edge_qc.record.recorder import Recorder
from edge_qc.record.store import Entry, Reader, Store
from edge_qc.sections import Record
from fakes import LABELS, part
from support import rows, wait_until


def _inspection(seq: int = 1, outcome: Outcome = Outcome.REJECT, stamp: FileStamp | None = None) -> Inspection:
    p = part(seq, stamp=stamp)
    heat = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    prediction = Prediction(LABELS, np.array([0.9, 0.1], np.float32), lambda: heat)
    verdict = Verdict(outcome, "defect", "def_front", 0.9)
    return Inspection("abcd1234", p, verdict, prediction, p.triggered_ns + 5_000_000, datetime.now(UTC), "fake-1.0.0")


def _write(store: Store, *inspections: Inspection) -> None:
    store.write([Entry(i, "sent") for i in inspections], [], [])


class _Lane:
    """A result lane that acknowledges when told to."""

    def __init__(self) -> None:
        self.connected = True
        self.sent: list[str] = []

    def publish_result(self, payload: str) -> int | None:
        if not self.connected:
            return None
        self.sent.append(payload)
        return len(self.sent)


def test_a_row_says_all_that_the_contract_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _write(store, _inspection())
    (row,) = rows(tmp_path)
    assert set(row) == {
        "session", "seq", "part", "source", "captured_at", "decided_at", "verdict", "reason", "label", "score",
        "latency_ms", "model", "signalled", "picture", "heatmap",
    }  # fmt: skip
    assert (row["verdict"], row["score"], row["latency_ms"], row["signalled"]) == ("reject", 0.9, 5.0, "sent")
    store.close()


def test_record_outbox_and_file_mark_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stamp = FileStamp("/in/a.png", 10, 20)
    _write(store, _inspection(1, stamp=stamp))
    with pytest.raises(sqlite3.IntegrityError):
        _write(store, _inspection(2), _inspection(1))  # 1 stands already
    reader = Reader(tmp_path)
    assert reader.was_taken(stamp)
    assert not reader.was_taken(FileStamp("/in/a.png", 11, 20))
    assert [r["seq"] for r in rows(tmp_path)] == [1]
    assert reader.waiting_count() == 1
    reader.close()
    store.close()


def test_events_can_only_be_added(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write([], [("abcd1234", Event("start", "x"))], [])
    for forbidden in ("DELETE FROM events", "UPDATE events SET kind = 'y'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            store._db.execute(forbidden)
    store.close()


def test_what_is_committed_is_synced_to_the_disk(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    store.close()


def test_a_folder_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="--data-dir"):
        Store(tmp_path / "file" / "data")


def _recorder(tmp_path: Path, released: list[FileStamp], health: list[tuple[str, bool]], **settings: Any) -> Recorder:
    tmp_path.mkdir(exist_ok=True)
    evidence = Evidence(tmp_path, Record(free_floor_mb=0, **settings))
    recorder = Recorder("abcd1234", Store(tmp_path), evidence, released.append, lambda *h: health.append(h))
    recorder.start()
    return recorder


def test_a_file_is_released_only_when_its_record_is_on_disk(tmp_path: Path) -> None:
    released: list[FileStamp] = []
    recorder = _recorder(tmp_path, released, [])
    stamp = FileStamp("/in/a.png", 1, 2)
    recorder.put(_inspection(1, stamp=stamp), "sent")
    assert recorder.flush(5)
    assert released == [stamp]
    assert len(rows(tmp_path)) == 1
    recorder.stop()


def test_a_disk_that_refuses_blocks_nobody_and_loses_nothing_once_it_is_well(tmp_path: Path) -> None:
    health: list[tuple[str, bool]] = []
    recorder = _recorder(tmp_path, [], health)
    blocker = sqlite3.connect(tmp_path / "inspections.db", isolation_level=None)
    recorder._store._db.execute("PRAGMA busy_timeout=50")
    blocker.execute("BEGIN EXCLUSIVE")
    for seq in range(1, 51):
        recorder.put(_inspection(seq), "sent")
    wait_until(lambda: health)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert recorder.flush(10)
    assert [r["seq"] for r in rows(tmp_path)] == list(range(1, 51))
    assert [h for h in health if h[0] == "record_fault"] == [("record_fault", True), ("record_fault", False)]
    recorder.stop()


@pytest.mark.parametrize("outcome", [Outcome.REJECT, Outcome.UNSURE, Outcome.NOT_INSPECTED])
def test_the_pictures_of_bad_parts_are_kept_exactly(tmp_path: Path, outcome: Outcome) -> None:
    recorder = _recorder(tmp_path, [], [])
    inspection = _inspection(7, outcome)
    recorder.put(inspection, "sent")
    recorder.stop()
    (row,) = rows(tmp_path)
    day = inspection.decided_at.strftime("%Y-%m-%d")
    assert row["picture"] == f"pictures/{day}/abcd1234-7-{outcome.value}.png"
    assert row["heatmap"] == f"heatmaps/{day}/abcd1234-7-{outcome.value}.png"
    assert inspection.part.frame is not None
    assert np.array_equal(cv2.imread(str(tmp_path / row["picture"]), 0), inspection.part.frame.pixels)


def test_an_even_share_of_the_good_ones_is_kept(tmp_path: Path) -> None:
    recorder = _recorder(tmp_path, [], [], ok_share=0.25)
    for seq in range(1, 13):
        recorder.put(_inspection(seq, Outcome.OK), "sent")
    recorder.stop()
    assert [r["seq"] for r in rows(tmp_path) if r["picture"]] == [4, 8, 12]


def test_beyond_the_quota_the_oldest_good_ones_go_first_and_each_is_an_event(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path, Record(ok_share=1, free_floor_mb=0, pictures_quota_mb=1))
    kept = [evidence.keep(_inspection(i, Outcome.OK if i % 2 else Outcome.REJECT)).picture for i in range(1, 7)]
    evidence._bytes += 1_000_000  # as if there were many more
    assert evidence.prune() == [kept[i] for i in (0, 2, 4, 1, 3, 5)]
    assert not list(tmp_path.glob("pictures/*/*"))
    assert not list(tmp_path.glob("heatmaps/*/*"))


def test_a_marked_picture_is_never_pruned(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path, Record(free_floor_mb=0, pictures_quota_mb=1))
    marked, other = (evidence.keep(_inspection(seq)).picture for seq in (1, 2))
    (tmp_path / f"{marked}.keep").touch()
    evidence = Evidence(tmp_path, Record(free_floor_mb=0, pictures_quota_mb=0))
    assert evidence.prune() == [other]
    assert (tmp_path / str(marked)).exists()


def test_on_a_full_disk_no_picture_is_written_and_the_station_is_degraded(tmp_path: Path) -> None:
    health: list[tuple[str, bool]] = []
    evidence = Evidence(tmp_path, Record(free_floor_mb=10_000_000))
    recorder = Recorder("abcd1234", Store(tmp_path), evidence, lambda _: None, lambda *h: health.append(h))
    recorder.start()
    recorder.put(_inspection(), "sent")
    recorder.stop()
    assert rows(tmp_path)[0]["picture"] is None
    assert health == [("evidence_fault", True)]


def _forwarding(tmp_path: Path, count: int) -> tuple[Store, Outbox, _Lane, list[int]]:
    store = Store(tmp_path)
    _write(store, *(_inspection(seq) for seq in range(1, count + 1)))
    struck: list[int] = []
    outbox = Outbox(tmp_path, struck.extend)
    return store, outbox, _Lane(), struck


def test_records_leave_in_order_a_few_at_a_time_and_are_struck_off_when_acknowledged(tmp_path: Path) -> None:
    store, outbox, lane, struck = _forwarding(tmp_path, IN_FLIGHT + 5)
    outbox.start(lane)
    wait_until(lambda: len(lane.sent) == IN_FLIGHT)
    assert struck == []
    for message in range(1, IN_FLIGHT + 1):
        outbox.acknowledged(message)
    wait_until(lambda: len(lane.sent) == IN_FLIGHT + 5)
    outbox.stop()
    assert struck == list(range(1, IN_FLIGHT + 1))
    assert [f'"seq":{i},' in payload for i, payload in enumerate(lane.sent, 1)] == [True] * len(lane.sent)
    store.close()


def test_after_a_lost_connection_it_begins_again_at_the_oldest_record(tmp_path: Path) -> None:
    store, outbox, lane, struck = _forwarding(tmp_path, 2)
    outbox.start(lane)
    wait_until(lambda: len(lane.sent) == 2)
    lane.connected = False
    wait_until(lambda: not outbox._in_flight)
    lane.connected = True
    wait_until(lambda: len(lane.sent) == 4)
    assert lane.sent[:2] == lane.sent[2:]
    outbox.acknowledged(3)
    wait_until(lambda: struck)
    outbox.stop()
    assert struck == [1]
    store.close()


def test_history_gives_the_newest_in_the_order_they_were(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _write(store, *(_inspection(seq, Outcome.OK if seq % 2 else Outcome.REJECT) for seq in range(1, 7)))
    reader = Reader(tmp_path)
    assert [row["seq"] for row in reader.history(None, None, 2)] == [5, 6]
    assert [row["seq"] for row in reader.history(None, "reject", None)] == [2, 4, 6]
    assert list(reader.history("2999-01-01", None, None)) == []
    reader.close()
    store.close()


def test_the_recorder_may_be_asked_from_many_threads(tmp_path: Path) -> None:
    recorder = _recorder(tmp_path, [], [])
    put: Callable[[int], None] = lambda base: [recorder.put(_inspection(base + i), "sent") for i in range(20)] and None  # noqa: E731
    threads = [threading.Thread(target=put, args=(base,)) for base in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.stop()
    assert len(rows(tmp_path)) == 60


def test_where_the_disk_does_not_keep_up_the_pictures_go_and_the_records_stay(tmp_path: Path) -> None:
    recorder = Recorder("abcd1234", Store(tmp_path), Evidence(tmp_path, Record(free_floor_mb=0)), print, print)
    for seq in range(1, 301):
        recorder.put(_inspection(seq), "sent")
    recorder.start()
    recorder.stop()
    kept = [r["seq"] for r in rows(tmp_path) if r["picture"]]
    assert len(rows(tmp_path)) == 300
    assert kept == list(range(1, 201))
    assert all(cv2.imread(str(p), 0).shape == (64, 64) for p in tmp_path.glob("pictures/*/*"))


def test_a_write_that_hangs_is_told_while_it_hangs(tmp_path: Path) -> None:
    health: list[tuple[str, bool]] = []
    recorder = _recorder(tmp_path, [], health)
    blocker = sqlite3.connect(tmp_path / "inspections.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")  # the store waits for up to 5 s
    seqs = iter(range(1, 10_000))

    def told() -> bool:
        recorder.put(_inspection(next(seqs)), "sent")
        return ("record_slow", True) in health

    wait_until(told, 4)
    blocker.execute("ROLLBACK")
    blocker.close()
    recorder.put(_inspection(20_000), "sent")
    assert recorder.flush(10)
    recorder.event("after", "a quick write")
    assert recorder.flush(10)
    assert health[-1] == ("record_slow", False)
    recorder.stop()


def test_acknowledgements_take_up_no_room_of_records(tmp_path: Path) -> None:
    recorder = Recorder("abcd1234", Store(tmp_path), Evidence(tmp_path, Record(free_floor_mb=0)), print, print)
    for id_ in range(1000):
        recorder.strike((id_,))
    recorder.put(_inspection(1), "sent")
    recorder.start()
    recorder.stop()
    (row,) = rows(tmp_path)
    assert row["picture"] is not None


def test_the_newest_event_of_each_kind_is_found_in_the_order_in_which_they_were(tmp_path: Path) -> None:
    store = Store(tmp_path)
    times = [datetime(2026, 3, 2, hour, tzinfo=UTC) for hour in range(4)]
    kinds = ("challenge_passed", "challenge_failed", "start", "challenge_passed")
    store.write([], [("abcd1234", Event(kind, "", at)) for kind, at in zip(kinds, times, strict=True)], [])
    reader = Reader(tmp_path)
    found = reader.newest_events(["challenge_passed", "challenge_failed", "challenge_missed"])
    assert found == [("challenge_failed", times[1]), ("challenge_passed", times[3])]
    reader.close()
    store.close()
