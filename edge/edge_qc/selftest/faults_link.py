"""Faults between the station and the PLC: broker, PLC, link, and the client library itself."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from edge_qc.errors import SignalError
from edge_qc.selftest.judge import (
    Figure,
    MeansMissingError,
    actuations,
    at_most,
    key,
    longest_gap_s,
    none_of,
    some,
)
from edge_qc.selftest.proxy import Proxy
from edge_qc.selftest.rig import WINDOW_MS, Bench, Daemon, Rig
from edge_qc.selftest.sabotage import CALLBACKS
from edge_qc.selftest.witness import Witness
from edge_qc.virtual_plc import VirtualPlc

AWAY_S = 5.0
PLC_AWAY_S = 3.0
LIVE_WITHIN_S = 2.0
KEPT_MS = 2_500  # the deadline of 1 s in whole seconds, and Mosquitto's own clock of whole seconds
CUT_EVERY_S = 0.6
HEARTBEAT_WITHIN_S = 1.0
TICK_S = 0.1  # how often a PLC's program looks at its clock, at the least
CALLBACK_TIMEOUT_S = 6.0


def broker_down(bench: Bench) -> list[Figure]:
    """The broker is stopped, and started 5 s later."""
    with bench.rig() as rig:
        rig.broker.process()
        daemon = _running(rig)
        rig.broker.stop()
        time.sleep(AWAY_S)
        rig.broker.start()
        return _after(rig, daemon, time.monotonic())


def broker_frozen(bench: Bench) -> list[Figure]:
    """The broker's process is stopped by SIGSTOP for 5 s: connections stay up, and nothing moves."""
    with bench.rig() as rig:
        broker = rig.broker.process()
        daemon = _running(rig)
        os.kill(broker, signal.SIGSTOP)
        time.sleep(AWAY_S)
        os.kill(broker, signal.SIGCONT)
        return _after(rig, daemon, time.monotonic())


def plc_offline(bench: Bench) -> list[Figure]:
    """The PLC leaves for 3 s, and another subscriber too, for which the broker keeps what may still be of use."""
    with bench.rig() as rig, Witness(rig.settings(), rig.prefix) as other:
        daemon = _running(rig)
        before = rig.plc
        before.stop()
        other.leave()
        time.sleep(PLC_AWAY_S)
        other.come_back()
        rig.plc = rig.new_plc()
        back_s = time.monotonic()
        figures = _after(rig, daemon, back_s, before)
        oldest_ms = max((h.age_ms for h in other.heard("verdict", back_s - 1)), default=0)
        what = "oldest verdict that the broker kept for a subscriber"
        if rig.broker.subscribed() is None:  # a broker without MQTT 5 keeps them for ever: the part window is the guard
            return [*figures, Figure(what, round(oldest_ms), "ms")]
        return [*figures, at_most(what, oldest_ms, KEPT_MS, "ms", 0)]


def link_cut(bench: Bench) -> list[Figure]:
    """The station's connection is cut every 0.6 s."""
    parts = int(bench.pick(10_000, 500))
    rate = bench.pick(50, 40)
    with bench.rig() as rig, Proxy(*_plain(rig)) as proxy:
        daemon = rig.daemon(f"sim:?rate={rate:g}", url=proxy.url).wait_ready()
        rig.steady(0.5)
        proxy.cut_every(CUT_EVERY_S)
        end_s = time.monotonic() + 3 * parts / rate
        while len(rig.records()) < parts and daemon.alive and time.monotonic() < end_s:
            time.sleep(1)
        proxy.cut_every(None)
        figures = _after(rig, daemon, time.monotonic(), live_within_s=None)
    return [some("cuts", proxy.cuts), *figures]


def callbacks(bench: Bench) -> list[Figure]:
    """Each callback of the client library raises once, in turn."""
    with bench.rig() as rig, Proxy(*_plain(rig)) as proxy:
        daemon = rig.daemon(url=proxy.url, sabotaged=True).wait_ready()
        rig.steady()
        used = [name for name in CALLBACKS if (rig.sabotage / f"set-{name}").exists()]
        figures: list[Figure] = [some("callbacks in use", len(used))]
        for name in used:
            if not daemon.alive:  # as systemd would
                daemon = rig.daemon(url=proxy.url, sabotaged=True).wait_ready()
            rig.steady(0.3)
            figures.append(_raise_in(rig, proxy, daemon, name))
        return figures + _after(rig, daemon, time.monotonic(), live_within_s=None)


def _raise_in(rig: Rig, proxy: Proxy, daemon: Daemon, name: str) -> Figure:
    """One callback raises: either verdicts go on within a second, or the PLC faults within one."""
    since_s, faults = time.monotonic(), rig.plc.counts().heartbeat_faults
    (rig.sabotage / f"raise-{name}").touch()
    raised, provoked, fault_s = rig.sabotage / f"raised-{name}", False, None
    while time.monotonic() < since_s + CALLBACK_TIMEOUT_S:
        time.sleep(0.01)
        if fault_s is None and rig.plc.counts().heartbeat_faults > faults:
            fault_s = time.monotonic()
        if not raised.exists() and not provoked and time.monotonic() > since_s + 0.5:
            provoked = True  # a new connection, and a message, call those that a running one does not
            for topic in ("trigger", "ack", "command"):
                rig.witness.publish(topic, b"{}", 0)
            proxy.cut()
    (rig.sabotage / f"raise-{name}").unlink(missing_ok=True)
    if not raised.exists():
        return Figure(f"{name} was never called, calls", 0)
    if daemon.alive:
        with suppress(SignalError):
            rig.live_again(time.monotonic())
    verdicts = [h.at_s for h in rig.witness.heard("verdict", since_s - 1)]
    silence_s = longest_gap_s([*verdicts, time.monotonic()])
    if silence_s <= HEARTBEAT_WITHIN_S or fault_s is None:
        return at_most(f"{name}: no verdict for", silence_s, HEARTBEAT_WITHIN_S, "s, PLC not faulted")
    beats = [h.at_s for h in rig.witness.heard("heartbeat") if h.at_s < fault_s]
    return at_most(f"{name}: PLC faults after", fault_s - beats[-1], HEARTBEAT_WITHIN_S + TICK_S, "s")


def _running(rig: Rig) -> Daemon:
    daemon = rig.daemon().wait_ready()
    rig.steady()
    return daemon


def _plain(rig: Rig) -> tuple[str, int]:
    """The broker's address, for a proxy.

    Raises:
        MeansMissingError: if it speaks TLS, whose certificate names no proxy.
    """
    if rig.broker.url.startswith("mqtts"):
        raise MeansMissingError("a proxy cannot stand in for a broker with TLS")
    return rig.address()


def _after(
    rig: Rig,
    daemon: Daemon,
    over_s: float,
    before: VirtualPlc | None = None,
    *,
    live_within_s: float | None = LIVE_WITHIN_S,
) -> list[Figure]:
    """What must hold once a fault is over, at ``over_s``.

    Args:
        rig: the bench.
        daemon: the station.
        over_s: monotonic time.
        before: another PLC, which acted before the fault.
        live_within_s: bound of the time until the line is live again; None where it is not judged.
    """
    figures = []
    live_s = rig.live_again(over_s)
    if live_within_s is not None:
        figures.append(at_most("live again after", live_s, live_within_s, "s"))
    time.sleep(1.0)
    records, forwarded = rig.settle()
    actions = [*(before.actions() if before else ()), *rig.plc.actions()]
    keys = {(action.session, action.seq) for action in actions}
    sent = sum(record["signalled"] == "sent" and key(record) not in keys for record in records)
    figures += actuations(records, actions, WINDOW_MS)
    figures += forwarded
    figures += [
        Figure("came late, not acted on", sum(action.did == "late" for action in actions)),
        Figure("sent but not heard by the PLC", sent),
        none_of("unclean exit", daemon.stop()),
    ]
    return figures


LINK_FAULTS: dict[str, tuple[str, Callable[[Bench], list[Figure]]]] = {
    "broker_down": ("broker down for 5 s", broker_down),
    "broker_frozen": ("broker frozen (SIGSTOP) for 5 s", broker_frozen),
    "plc_offline": ("PLC offline for 3 s", plc_offline),
    "link_cut": ("link cut every 0.6 s", link_cut),
    "callbacks": ("an exception in every callback of the client library in turn", callbacks),
}
