"""Faults of the disk: full, read-only, slow. Verdicts must not notice; the station must say so; nothing may be lost."""

import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress

from edge_qc.selftest.judge import Figure, at_most, gaps, none_of, p99, some
from edge_qc.selftest.rig import Bench, Daemon, Rig
from edge_qc.selftest.sabotage import READ_ONLY

DISK_RATE = 50.0
ALARM_WITHIN_S = 5.0
UNAFFECTED = 1.5  # times the p99 of an undisturbed stretch
UNAFFECTED_MS = 20.0  # under this a p99 says more about the machine's other work than about the disk
FSYNC_S = 2.0
BREATH_S = 0.15  # between two slow writes, so that one gets through
SMALL_DISK_MB = 64
REFILL_EVERY_S = 0.1
TINY_FILE_BYTES = 1

Fault = Callable[[Rig, Daemon], AbstractContextManager[None]]


def disk_full(bench: Bench) -> list[Figure]:
    """The disk of the data folder has no byte left."""
    with bench.rig() as rig:
        mounted = _mount_small(rig)
        fault = _filled if mounted else _limited
        means = Figure("by a full tmpfs of MB", SMALL_DISK_MB) if mounted else Figure("by RLIMIT_FSIZE, bytes", 1)
        return [means, *_measure(bench, rig, fault)]


def disk_read_only(bench: Bench) -> list[Figure]:
    """The data folder turns read-only, inside the process (see ``sabotage``)."""
    with bench.rig() as rig:
        return _measure(bench, rig, _read_only)


def disk_slow(bench: Bench) -> list[Figure]:
    """Each commit waits for 2 s: another process holds the database's write lock."""
    with bench.rig() as rig:
        return _measure(bench, rig, _slow)


def _measure(bench: Bench, rig: Rig, fault: Fault) -> list[Figure]:
    daemon = rig.daemon(f"sim:?rate={DISK_RATE:g}&defect_rate=0.1", sabotaged=True).wait_ready()
    rig.steady()
    calm_s = time.monotonic()
    time.sleep(bench.pick(10, 3))
    fault_s = time.monotonic()
    with fault(rig, daemon):
        time.sleep(bench.pick(15.5, 8.5))
        over_s = time.monotonic()
        spoken = {said["seq"] for said in rig.witness.said("verdict")}
        held_back = len(spoken - {record["seq"] for record in rig.records()})
    figures = _unaffected(rig, calm_s, fault_s, over_s)
    figures += [some("records that had to wait", held_back), *_alarm(rig, fault_s, over_s)]
    time.sleep(1.0)
    records, forwarded = rig.settle()
    heard = {said["seq"] for said in rig.witness.said("verdict")}
    on_record = {record["seq"] for record in records}
    return [
        *figures,
        none_of("parts missing on record", gaps(records)),
        none_of("parts without a verdict", len(on_record - heard)),
        none_of("faults found by integrity_check", rig.integrity_faults()),
        *forwarded,
        none_of("unclean exit", daemon.stop()),
    ]


def _unaffected(rig: Rig, calm_s: float, fault_s: float, over_s: float) -> list[Figure]:
    verdicts = rig.witness.heard("verdict", calm_s)
    calm = p99(h.age_ms for h in verdicts if h.at_s < fault_s)
    during = [h.age_ms for h in verdicts if fault_s <= h.at_s < over_s]
    return [
        some("verdicts meanwhile", len(during)),
        Figure("p99 before", round(calm, 1), "ms"),
        at_most("p99 meanwhile", p99(during), round(max(UNAFFECTED * calm, UNAFFECTED_MS), 1), "ms", 1),
    ]


def _alarm(rig: Rig, fault_s: float, over_s: float) -> list[Figure]:
    """When the station said `degraded`, and when `online` again."""

    def since(word: str, start_s: float) -> float | None:
        said = rig.witness.heard("state", start_s)
        return next((heard.at_s - start_s for heard in said if heard.said["state"] == word), None)

    alarm_s = since("degraded", fault_s)
    if alarm_s is None or alarm_s > over_s - fault_s:
        return [none_of("alarms that did not come", 1)]
    # A write that gets through between two slow ones clears the alarm: it may be online already.
    last = [heard.said["state"] for heard in rig.witness.heard("state", fault_s) if heard.at_s <= over_s][-1]
    end_s = over_s + ALARM_WITHIN_S
    while last != "online" and since("online", over_s) is None and time.monotonic() < end_s:
        time.sleep(0.05)
    online_s = 0.0 if last == "online" else since("online", over_s)
    return [
        at_most("alarm after", alarm_s, ALARM_WITHIN_S, "s"),
        at_most("online again after", ALARM_WITHIN_S * 2 if online_s is None else online_s, ALARM_WITHIN_S, "s"),
    ]


def _mount_small(rig: Rig) -> bool:
    """Puts the data folder on a small disk of its own, where we may."""
    rig.data_dir.mkdir()
    size = f"size={SMALL_DISK_MB}m"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(rig.data_dir)]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603
    except OSError:
        return False
    if mounted:
        rig.on_exit(lambda: subprocess.run(["umount", "-l", str(rig.data_dir)], capture_output=True, check=False))  # noqa: S603, S607
    return mounted


@contextmanager
def _filled(rig: Rig, _daemon: Daemon) -> Iterator[None]:
    """Takes every byte that there is or that becomes free."""
    filler, over = rig.data_dir / "filler", threading.Event()
    chunks = [bytes(size) for size in (1_000_000, 4096, 1)]

    def fill() -> None:
        with filler.open("ab", buffering=0) as stream:
            while not over.wait(REFILL_EVERY_S):
                for chunk in chunks:
                    with suppress(OSError):
                        while stream.write(chunk):
                            pass

    with _thread(fill, over):
        yield
    filler.unlink()


@contextmanager
def _limited(_rig: Rig, daemon: Daemon) -> Iterator[None]:
    daemon.limit_files(TINY_FILE_BYTES)
    yield
    daemon.limit_files(-1)


@contextmanager
def _read_only(rig: Rig, _daemon: Daemon) -> Iterator[None]:
    armed = rig.sabotage / READ_ONLY
    armed.touch()
    yield
    armed.unlink()


@contextmanager
def _slow(rig: Rig, _daemon: Daemon) -> Iterator[None]:
    """Holds the write lock for 2 s at a time. In WAL mode readers go on, as they do on a disk with a slow fsync."""
    over, path = threading.Event(), rig.data_dir / "inspections.db"

    def hold() -> None:
        with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as database:
            while not over.wait(BREATH_S):
                database.execute("BEGIN IMMEDIATE")
                over.wait(FSYNC_S)
                database.execute("ROLLBACK")

    with _thread(hold, over):
        yield


@contextmanager
def _thread(work: Callable[[], None], over: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work, name="fault", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


DISK_FAULTS: dict[str, tuple[str, Callable[[Bench], list[Figure]]]] = {
    "disk_full": ("disk full", disk_full),
    "disk_read_only": ("disk read-only", disk_read_only),
    "disk_slow": ("disk slow by 2 s an fsync", disk_slow),
}
