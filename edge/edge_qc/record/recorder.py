"""The recorder: the one thread that writes. The disk may stall; the line may not."""

import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_qc.domain import Event, FileStamp, Inspection, Signalled
from edge_qc.record.evidence import Evidence, Kept
from edge_qc.record.store import Entry, Store

log = logging.getLogger(__name__)

MAX_WAITING = 20_000  # records without pictures: some 20 MB
MAX_WAITING_WITH_PICTURE = 200
RETRY_S = 1.0
SLOW_S = 1.0  # a write that takes longer is a disk that ails, whether it ends well or not


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    entry: Entry | None = None
    with_picture: bool = True
    event: Event | None = None
    flushed: threading.Event | None = None


class Recorder:
    """Takes records without ever blocking the caller, and writes them in group commits.

    Args:
        session: the session that events belong to.
        store: the database, which this thread alone writes.
        evidence: the pictures.
        on_recorded: called with the file of each part whose record is on disk.
        on_health: called with ``record_fault``, ``record_slow`` or ``evidence_fault``, and whether it is so; at each
            change, from this thread or the caller's.
    """

    def __init__(
        self,
        session: str,
        store: Store,
        evidence: Evidence,
        on_recorded: Callable[[FileStamp], None],
        on_health: Callable[[str, bool], None],
    ) -> None:
        self._session, self._store, self._evidence = session, store, evidence
        self._on_recorded, self._on_health = on_recorded, on_health
        self._queue: queue.Queue[_Work | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._ailing: set[str] = set()
        self._ailing_lock = threading.Lock()
        self._writing_since_s: float | None = None
        self._struck: deque[int] = deque()
        self._strike_waits = False
        self.lost = 0

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def put(self, inspection: Inspection, signalled: Signalled) -> None:
        """Hands an inspection over. Where the disk does not keep up, first the pictures go, then the records."""
        self._look_at_the_clock()
        inspection = _with_one_picture(inspection)
        waiting = self._queue.qsize()
        if waiting >= MAX_WAITING:
            self.lost += 1
            return
        with_picture = waiting < MAX_WAITING_WITH_PICTURE
        if not with_picture and inspection.part.frame is not None:
            slim = inspection.part.frame.pixels[:1, :1].copy()
            part = replace(inspection.part, frame=replace(inspection.part.frame, pixels=slim))
            inspection = replace(inspection, part=part)
        self._queue.put(_Work(entry=Entry(inspection, signalled), with_picture=with_picture))

    def event(self, kind: str, detail: str) -> None:
        """Notes an event, with the time it has now."""
        self._queue.put(_Work(event=Event(kind, detail)))

    def strike(self, ids: tuple[int, ...]) -> None:
        """Takes records off the outbox: the broker has them. However many, they take one place in the queue."""
        self._struck.extend(ids)
        if not self._strike_waits:
            self._strike_waits = True
            self._queue.put(_Work())

    def flush(self, timeout_s: float) -> bool:
        """Waits until all that was handed over is on disk; False if that takes longer than ``timeout_s``."""
        done = threading.Event()
        self._queue.put(_Work(flushed=done))
        return done.wait(timeout_s)

    def stop(self) -> None:
        """Writes what waits (3 s at most) and closes the database."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(3)
        self._store.close()

    def _run(self) -> None:
        running = True
        while running:
            work = [self._queue.get()]
            while not self._queue.empty():
                work.append(self._queue.get())
            running = None not in work
            self._strike_waits = False
            struck = [self._struck.popleft() for _ in range(len(self._struck))]
            batch = [item for item in work if item is not None]
            kept = [self._with_pictures(item) for item in batch]
            while not self._write(kept, struck) and running:
                time.sleep(RETRY_S)
            for item in kept:
                if item.entry is not None and item.entry.inspection.part.stamp is not None:
                    self._on_recorded(item.entry.inspection.part.stamp)
                if item.flushed is not None:
                    item.flushed.set()

    def _with_pictures(self, item: _Work) -> _Work:
        if item.entry is None or not item.with_picture:
            return item
        try:
            kept = self._evidence.keep(item.entry.inspection)
            self._tell("evidence_fault", None if self._evidence.has_room() else "free space is under its floor")
        except OSError as error:
            self._tell("evidence_fault", str(error))
            kept = Kept()
        return replace(item, entry=replace(item.entry, picture=kept.picture, heatmap=kept.heatmap))

    def _write(self, batch: list[_Work], struck: list[int]) -> bool:
        events = [(self._session, item.event) for item in batch if item.event is not None]
        events += [(self._session, Event("pruned", path)) for path in self._pruned()]
        lost = self.lost
        if lost:
            events.append((self._session, Event("records_lost", f"{lost} records had no room in memory")))
        entries = [item.entry for item in batch if item.entry is not None]
        if not (entries or events or struck):
            return True
        self._writing_since_s = time.monotonic()
        try:
            self._store.write(entries, events, struck)
        except sqlite3.Error as error:
            self._tell("record_fault", str(error))
            return False
        finally:
            took_s = time.monotonic() - self._writing_since_s
            self._writing_since_s = None
            self._tell("record_slow", f"a write took {took_s:.1f} s" if took_s > SLOW_S else None)
        self._tell("record_fault", None)
        self.lost -= lost
        return True

    def _look_at_the_clock(self) -> None:
        """Asked by the line, since a write that hangs says nothing itself."""
        since_s = self._writing_since_s
        if since_s is not None and time.monotonic() - since_s > SLOW_S:
            self._tell("record_slow", f"a write takes more than {SLOW_S:g} s")

    def _pruned(self) -> list[str]:
        try:
            return self._evidence.prune()
        except OSError as error:
            self._tell("evidence_fault", str(error))
            return []

    def _tell(self, reason: str, wrong: str | None) -> None:
        """Says each change once: what is wrong now, or that it is over."""
        with self._ailing_lock:
            if (wrong is not None) == (reason in self._ailing):
                return
            (self._ailing.discard if wrong is None else self._ailing.add)(reason)
        if wrong is None:
            log.info("%s is over", reason)
        else:
            log.error("%s: %s; verdicts go on", reason, wrong)
        self._on_health(reason, wrong is not None)


def _with_one_picture(inspection: Inspection) -> Inspection:
    """Of a part that several frames voted on, the one that is kept as evidence: the others would only hold memory."""
    if not inspection.part.others:
        return inspection
    part = replace(inspection.part, frame=inspection.frame, others=())
    prediction = None if inspection.prediction is None else replace(inspection.prediction, frame_index=0)
    return replace(inspection, part=part, prediction=prediction)
