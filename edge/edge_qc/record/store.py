"""The database of inspections, the outbox and the events (CONTRACT.md, Files in the data folder)."""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from edge_qc.domain import Event, FileStamp, Inspection, Signalled, utc_text
from edge_qc.errors import RecordError

DATABASE_FILE = "inspections.db"
LOCK_FILE = ".lock"
COLUMNS = (
    "session", "seq", "part", "source", "captured_at", "decided_at", "verdict", "reason", "label", "score",
    "latency_ms", "model", "signalled", "picture", "heatmap",
)  # fmt: skip
_SCHEMA = """
CREATE TABLE IF NOT EXISTS inspections (
    session TEXT NOT NULL, seq INTEGER NOT NULL, part TEXT NOT NULL, source TEXT NOT NULL,
    captured_at TEXT NOT NULL, decided_at TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('ok', 'reject', 'unsure', 'not_inspected')),
    reason TEXT NOT NULL, label TEXT, score REAL, latency_ms REAL NOT NULL, model TEXT NOT NULL,
    signalled TEXT NOT NULL CHECK (signalled IN ('sent', 'expired', 'offline')),
    picture TEXT, heatmap TEXT, PRIMARY KEY (session, seq));
CREATE INDEX IF NOT EXISTS inspections_by_time ON inspections (decided_at);
CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, session TEXT NOT NULL, kind TEXT NOT NULL,
    detail TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_kind ON events (kind);
CREATE TRIGGER IF NOT EXISTS events_stay BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_as_they_were BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TABLE IF NOT EXISTS taken (
    path BLOB NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (path, size_bytes, mtime_ns)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One inspection as it goes into the database.

    Attributes:
        inspection: the inspection.
        signalled: what became of its signal.
        picture: its picture's path, relative to the data folder; None where none was kept.
        heatmap: its heatmap's path, likewise.
    """

    inspection: Inspection
    signalled: Signalled
    picture: str | None = None
    heatmap: str | None = None

    def row(self) -> dict[str, Any]:
        """The values of ``COLUMNS``."""
        i = self.inspection
        return {
            "session": i.session,
            "seq": i.part.seq,
            "part": i.part.id,
            "source": i.part.source,
            "captured_at": utc_text(i.part.triggered_at),
            "decided_at": utc_text(i.decided_at),
            "verdict": i.verdict.outcome.value,
            "reason": i.verdict.reason,
            "label": i.verdict.label,
            "score": i.verdict.score,
            "latency_ms": round(i.latency_ms, 3),
            "model": i.model,
            "signalled": self.signalled,
            "picture": self.picture,
            "heatmap": self.heatmap,
        }


class Store:
    """The database, opened for writing by one thread.

    WAL with ``synchronous=FULL``: what is committed survives a pulled plug.

    Args:
        data_dir: the data folder; made if it is not there.
        with_outbox: whether records are also to be forwarded.

    Raises:
        RecordError: if the folder or the database cannot be used.
    """

    def __init__(self, data_dir: Path, *, with_outbox: bool = True) -> None:
        self._with_outbox = with_outbox
        self._db = open_database(data_dir)
        self._lock = _lock(data_dir)

    def write(self, entries: Sequence[Entry], events: Sequence[tuple[str, Event]], struck: Iterable[int]) -> None:
        """Everything of one moment in one transaction.

        Args:
            entries: inspections.
            events: session and event of each.
            struck: ids of the outbox that the broker has.

        Raises:
            sqlite3.Error: if the disk refuses; nothing of it is written then.
        """
        rows = [entry.row() for entry in entries]
        stamps = [e.inspection.part.stamp for e in entries if e.inspection.part.stamp is not None]
        marks = ", ".join(f":{name}" for name in COLUMNS)
        with self._db:
            self._db.executemany(f"INSERT INTO inspections ({', '.join(COLUMNS)}) VALUES ({marks})", rows)  # noqa: S608 - our own constants
            if self._with_outbox:
                texts = [(json.dumps(row, separators=(",", ":"), ensure_ascii=False),) for row in rows]
                self._db.executemany("INSERT INTO outbox (payload) VALUES (?)", texts)
            self._db.executemany(
                "INSERT OR REPLACE INTO taken VALUES (?, ?, ?, ?)", [(*_taken_row(s), s.digest) for s in stamps]
            )
            self._db.executemany(
                "INSERT INTO events (at, session, kind, detail) VALUES (?, ?, ?, ?)",
                [(utc_text(event.at), session, event.kind, event.detail) for session, event in events],
            )
            self._db.executemany("DELETE FROM outbox WHERE id = ?", [(id_,) for id_ in struck])

    def close(self) -> None:
        """Folds the log into the database, closes it, and gives the folder free."""
        self._db.close()
        self._lock.close()


class Reader:
    """Reads the database beside the writer; made and used by one thread.

    Raises:
        RecordError: if there is no database, or it cannot be read.
    """

    def __init__(self, data_dir: Path) -> None:
        path = data_dir / DATABASE_FILE
        if not path.is_file():
            raise RecordError(
                f"no records at {path}",
                expected="the data folder of a station that has run",
                got="no database",
                remedy="Give --data-dir the folder that edge-qc run uses",
            )
        with _explained(path):
            self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
            self._db.row_factory = sqlite3.Row
            self._db.execute("SELECT 1 FROM inspections LIMIT 1")

    def was_taken(self, stamp: FileStamp) -> bool:
        """Whether this version of a file has its record."""
        found = self._db.execute(
            "SELECT 1 FROM taken WHERE path = ? AND size_bytes = ? AND mtime_ns = ?",
            _taken_row(stamp),
        )
        return found.fetchone() is not None

    def digests(self, path: str, size_bytes: int) -> set[bytes]:
        """Digests of the versions of a file of this size that have their records."""
        found = self._db.execute(
            "SELECT digest FROM taken WHERE path = ? AND size_bytes = ?", (os.fsencode(path), size_bytes)
        )
        return {row["digest"] for row in found}

    def newest_events(self, kinds: Sequence[str]) -> list[tuple[str, datetime]]:
        """The newest event of each of these kinds that there is, in the order in which they were: kind and UTC."""
        query = "SELECT id, kind, at FROM events WHERE kind = ? ORDER BY id DESC LIMIT 1"
        found = [row for kind in kinds for row in self._db.execute(query, (kind,))]
        return [(row["kind"], datetime.fromisoformat(row["at"])) for row in sorted(found, key=lambda row: row["id"])]

    def waiting(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Up to ``limit`` records of the outbox with an id over ``after``, in order: id and payload."""
        found = self._db.execute("SELECT id, payload FROM outbox WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        return [(row["id"], row["payload"]) for row in found]

    def waiting_count(self) -> int:
        """How many records wait in the outbox."""
        return int(self._db.execute("SELECT COUNT(*) FROM outbox").fetchone()[0])

    def history(self, since: str | None, verdict: str | None, limit: int | None) -> Iterator[dict[str, Any]]:
        """Past inspections, oldest first; the newest ``limit`` of them.

        Args:
            since: ISO 8601 in UTC; None for all.
            verdict: one outcome; None for all.
            limit: at most so many; None for all.
        """
        found = self._db.execute(
            "SELECT * FROM (SELECT rowid, * FROM inspections WHERE (:since IS NULL OR decided_at >= :since)"
            " AND (:verdict IS NULL OR verdict = :verdict) ORDER BY rowid DESC LIMIT :limit) ORDER BY rowid",
            {"since": since, "verdict": verdict, "limit": -1 if limit is None else limit},
        )
        for row in found:
            yield {name: row[name] for name in COLUMNS}

    def close(self) -> None:
        """Closes the database."""
        self._db.close()


def open_database(data_dir: Path) -> sqlite3.Connection:
    """Opens the database for writing, and makes it where there is none.

    Raises:
        RecordError: if the folder or the database cannot be used.
    """
    path = data_dir / DATABASE_FILE
    with _explained(path):
        data_dir.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, timeout=5, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(_SCHEMA)
    return db


def _taken_row(stamp: FileStamp) -> tuple[bytes, int, int]:
    """A path as the bytes that it is: file names need not be UTF-8."""
    return os.fsencode(stamp.path), stamp.size_bytes, stamp.mtime_ns


def _lock(data_dir: Path) -> TextIO:
    """Keeps the folder for this process; the kernel gives it free when the process ends, however it ends.

    Raises:
        RecordError: if another process has it.
    """
    lock = (data_dir / LOCK_FILE).open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise RecordError(
            f"the data folder {data_dir} is in use",
            expected="one station to a data folder",
            got="another edge-qc that runs on it",
            remedy="Stop the other one, or give --data-dir another folder",
        ) from None
    return lock


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise RecordError(
            f"the record of inspections at {path} cannot be opened",
            expected="a folder that this user may write, on a disk with room",
            got=str(error),
            remedy="Give --data-dir another folder, or mend this one",
        ) from error
