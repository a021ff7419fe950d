"""Faults of the process: killed, frozen, its clock stepped, and nonsense on what it listens to."""

import random
import signal
import string
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from edge_qc.selftest.judge import (
    Figure,
    MeansMissingError,
    Said,
    actuations,
    at_most,
    gaps,
    key,
    longest_gap_s,
    none_of,
    some,
    unaccounted,
)
from edge_qc.selftest.rig import RATE, WINDOW_MS, Bench, Daemon, Rig

KILL_RATE = 50.0
FROZEN_S = 2.0
FAULTS_WITHIN_S = 1.1  # the PLC's time-out of 1 s after the last heartbeat, and one tick of its program
LIVE_WITHIN_S = 2.0
GROWTH_MB = 10.0
NONSENSE_ON = ("trigger", "ack", "command")
MAX_PAYLOAD_BYTES = 1_000_000
_FAKETIME = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def daemon_killed(bench: Bench) -> list[Figure]:
    """The daemon is killed (SIGKILL) at random, again and again, over the same data folder."""
    times = int(bench.pick(200, 10))
    dice = random.Random(4)  # noqa: S311 - when to kill is no secret
    broken = 0
    with bench.rig() as rig:
        rig.daemon(f"sim:?rate={KILL_RATE:g}").wait_ready().kill()
        for i in range(times):
            daemon = rig.daemon(f"sim:?rate={KILL_RATE:g}&seed={i}")
            if dice.random() < 0.15:  # also while it starts
                time.sleep(dice.uniform(0, 1))
            else:
                daemon.wait_ready()
                time.sleep(dice.uniform(0, 1.2))
            daemon.kill()
            broken += rig.integrity_faults()
        last = rig.daemon(f"sim:?rate={KILL_RATE:g}").wait_ready()
        time.sleep(1)
        records, forwarded = rig.settle()
        status = last.stop()
        on_record = {key(record) for record in rig.records()}
        acknowledged = {key(said) for said in rig.witness.said("result")}
        return [
            Figure("kills", times),
            none_of("faults found by integrity_check", broken + rig.integrity_faults()),
            none_of("acknowledged but not on record", len(acknowledged - on_record)),
            *unaccounted(on_record, [key(said) for said in rig.witness.said("verdict")]),
            *actuations(records, rig.plc.actions(), WINDOW_MS),
            *forwarded,
            none_of("unclean exit of the last", status),
        ]


def daemon_frozen(bench: Bench) -> list[Figure]:
    """The daemon is frozen (SIGSTOP) for 2 s; the PLC must fault, and nothing may be acted on late when it thaws."""
    took, live = [], []
    with bench.rig() as rig:
        daemon = rig.daemon().wait_ready()
        rig.steady()
        for _ in range(int(bench.pick(10, 3))):
            took.append(_freeze(rig, daemon))
            thawed_s = time.monotonic()
            daemon.send(signal.SIGCONT)
            live.append(rig.live_again(thawed_s))
            time.sleep(0.7)
        records, forwarded = rig.settle()
        return [
            Figure("freezes", len(took)),
            at_most("PLC faults after", max(took), FAULTS_WITHIN_S, "s"),
            at_most("live again after", max(live), LIVE_WITHIN_S, "s"),
            *actuations(records, rig.plc.actions(), WINDOW_MS),
            *forwarded,
        ]


def _freeze(rig: Rig, daemon: Daemon) -> float:
    """Seconds from SIGSTOP to the PLC's fault, the whole freeze where there is none."""
    before = rig.plc.counts().heartbeat_faults
    daemon.send(signal.SIGSTOP)
    start_s, took_s = time.monotonic(), FROZEN_S
    while (now_s := time.monotonic()) < start_s + FROZEN_S:
        if took_s == FROZEN_S and rig.plc.counts().heartbeat_faults > before:
            took_s = now_s - start_s
        time.sleep(0.005)
    return took_s


def clock_stepped(bench: Bench) -> list[Figure]:
    """The wall clock of station and broker jumps an hour on, two hours back, and home again."""
    library = next((path for pattern in _FAKETIME for path in Path("/").glob(pattern[1:])), None)
    if library is None:
        raise MeansMissingError("libfaketime is not installed")
    hold_s = bench.pick(10, 3)
    with bench.rig() as reference:
        parts = int(RATE * (4 * hold_s + 20))
        reference.daemon(f"sim:?rate=200&parts={parts}").wait_ready()
        while len(reference.records()) < parts:
            time.sleep(0.2)
        expected = {record["seq"]: record["verdict"] for record in reference.records()}
    clock = reference.folder.with_suffix(".clock")
    fake = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    clock.write_text("+0\n", "ascii")
    try:
        with bench.rig(environment=fake) as rig:
            daemon = rig.daemon(f"sim:?rate={RATE:g}", sabotaged=True).wait_ready()
            time.sleep(hold_s)
            for step in ("+3600", "-3600", "+0"):
                draft = clock.with_suffix(".draft")
                draft.write_text(f"{step}\n", "ascii")
                draft.replace(clock)
                time.sleep(hold_s)
            return _clock_figures(rig, daemon, expected)
    finally:
        clock.unlink()


def _clock_figures(rig: Rig, daemon: Daemon, expected: dict[int, str]) -> list[Figure]:
    counts = rig.plc.counts()
    records, forwarded = rig.settle()
    numbers = [said["seq"] for said in rig.witness.said("verdict")]
    days = {record["captured_at"][:13] for record in records}
    return [
        some("wall-clock hours seen, beyond the first,", len(days) - 1),
        none_of("verdicts changed", sum(expected.get(r["seq"], r["verdict"]) != r["verdict"] for r in records)),
        none_of("expired or not sent", sum(record["signalled"] != "sent" for record in records)),
        none_of("verdicts not heard", len({r["seq"] for r in records} - set(numbers))),
        none_of("verdicts out of order", sum(b <= a for a, b in pairwise(numbers))),
        none_of("heartbeat faults", counts.heartbeat_faults),
        at_most("longest latency on record", max(record["latency_ms"] for record in records), WINDOW_MS, "ms", 1),
        *forwarded,
        none_of("unclean exit", daemon.stop()),
    ]


def malformed(bench: Bench) -> list[Figure]:
    """Malformed, oversized and random payloads on every topic that a station listens to."""
    count = int(bench.pick(20_000, 2_000))
    with bench.rig() as rig:
        daemon = rig.daemon().wait_ready()
        rig.steady()
        _shower(rig, count // 5, seed=1)  # what a first message loads is no growth
        before_mb, since_s = daemon.resident_mb, time.monotonic()
        _shower(rig, count, seed=2)
        grown_mb = daemon.resident_mb - before_mb if daemon.alive else 0.0
        beats = [heard.at_s for heard in rig.witness.heard("heartbeat", since_s)]
        alive = daemon.alive
        records, forwarded = rig.settle()
        log = rig.broker.subscribed()
        listened = [name for name in NONSENSE_ON if log and f"{rig.prefix}{name}" in log]
        return [
            Figure("payloads", count),
            *([] if log is None else [Figure("topics of the three that the station listens to", len(listened))]),
            none_of("crashes", 0 if alive and len({record["session"] for record in records}) == 1 else 1),
            at_most("memory grew by", grown_mb, GROWTH_MB, "MB"),
            at_most("longest time without a heartbeat", longest_gap_s(beats), 1.0, "s"),
            none_of("verdicts for a part that was not there", _strangers(records)),
            none_of("missing numbers", gaps(records)),
            *actuations(records, rig.plc.actions(), WINDOW_MS),
            *forwarded,
            none_of("unclean exit", daemon.stop()),
        ]


def _strangers(records: list[Said]) -> int:
    """Records of parts that the simulated line did not draw: those are known by their number."""
    return sum(record["part"] != str(record["seq"]) for record in records)


def _shower(rig: Rig, count: int, *, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - nonsense that can be repeated
    for i in range(count):
        info = rig.witness.publish(dice.choice(NONSENSE_ON), nonsense(dice), dice.choice((0, 1)))
        if i % 100 == 99:
            info.wait_for_publish(10)  # no more than the broker bears
    time.sleep(1)


def nonsense(dice: random.Random) -> bytes:
    """A payload that no PLC should send."""
    word = "".join(dice.choices(string.printable, k=dice.randrange(12)))
    number = dice.choice((-1, 0, 1, 2**31, 2**63, 2**70, 1e308, 0.5))
    value = dice.choice((f'"{word}"', str(number), "null", "true", "[]", "{}", "NaN", "Infinity", "1e999", '"\\ud800"'))
    name = dice.choice(("part", "session", "seq", "id", "command", "x"))
    text = (
        value,
        f'{{"{name}": {value}}}',
        f'{{"session": {value}, "seq": {number}, "part": {value}}}',
        f'{{"id": {value}, "command": {value}}}',
        "[" * dice.randrange(4000),
        '{"part": "' + "A" * dice.choice((200, 4_000, 4_097, 65_536)) + '"}',
    )
    if dice.random() < 0.2:
        return dice.randbytes(MAX_PAYLOAD_BYTES if dice.random() < 0.01 else dice.randrange(300))
    return dice.choice(text).encode("utf-8", "replace")


PROCESS_FAULTS: dict[str, tuple[str, Callable[[Bench], list[Figure]]]] = {
    "daemon_killed": ("daemon killed (SIGKILL) at random", daemon_killed),
    "daemon_frozen": ("daemon frozen (SIGSTOP)", daemon_frozen),
    "clock_stepped": ("clock stepped by an hour, both ways", clock_stepped),
    "malformed": ("malformed, oversized and random payloads on trigger, ack and command", malformed),
}
