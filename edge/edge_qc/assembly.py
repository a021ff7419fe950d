"""Builds a station from a config and runs it: with the command line, the only place that names concrete adapters."""

import logging
import os
import secrets
import signal as posix
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_qc.alarms import Alarms
from edge_qc.bundle import Bundle, load_bundle
from edge_qc.capture.base import Camera
from edge_qc.challenge import Challenge, Kind, Past
from edge_qc.classify.litert import LiteRtClassifier
from edge_qc.config import Config
from edge_qc.deadline import DeadlineGuard
from edge_qc.domain import FileStamp
from edge_qc.drift import Drifted, DriftWatch
from edge_qc.errors import ConfigError, SignalError
from edge_qc.features import Features
from edge_qc.inspector import Inspector
from edge_qc.installed import InstalledBundles
from edge_qc.panel import DRIFT, OperatorPanel
from edge_qc.quality import QualityGate, ignore
from edge_qc.record.evidence import Evidence
from edge_qc.record.outbox import Outbox
from edge_qc.record.recorder import Recorder
from edge_qc.record.reference import ReferenceFile
from edge_qc.record.store import Reader, Store
from edge_qc.sections import Broker
from edge_qc.signal.base import Signal
from edge_qc.signal.link import Message
from edge_qc.signal.mqtt import MqttSignal, NoSignal
from edge_qc.sources import build_camera, source_name
from edge_qc.station import Health, Identity, Station
from edge_qc.triggers import build_trigger, hearing

if TYPE_CHECKING:
    from edge_qc.signal.sparkplug import SparkplugSignal

log = logging.getLogger(__name__)

Hearing = Callable[[Message], None]

FIRST_CONNECTION_S = 1.0  # how long a start waits for the broker; a line that runs does not wait for it
FIRST_CONNECTION_ONCE_S = 5.0
FLUSH_S = 30.0
FLUSH_STOPPED_S = 3.0  # systemd waits for ten seconds in all (TimeoutStopSec)
DELIVERY_SILENCE_S = 5.0


def run_station(config: Config, *, once: bool, source: Camera | None = None) -> int:
    """Inspects until the source ends or the process is told to stop.

    Args:
        config: the configuration.
        once: inspect what the source holds now, deliver every record, and return.
        source: gives the pictures instead of the config's source.

    Returns:
        Exit status: 0, or 1 when ``once`` could not deliver every record.

    Raises:
        EdgeQcError: what stands in the way, for a person to read.
    """
    folder = data_dir(config)
    # What it tells is made below: a watch speaks of its bundle's first part at the earliest. Each bundle has its own,
    # since another may see another region; a reload of the same bundle goes on with its watch.
    watch = lru_cache(maxsize=1)(
        lambda of: build_drift_watch(config, of, lambda *t: tell(*t), lambda *e: note(*e))  # noqa: PLW0108
    )
    load = partial(load_inspector, config, lambda of: watch(of).add)
    inspector, model = load()
    identity = Identity(secrets.token_hex(4), config.station, model)
    with ExitStack() as stages:
        stop = stages.enter_context(stopped_by_signals())
        broker = stages.enter_context(_broker(config))
        config = config.model_copy(update={"broker": broker})
        silent = broker.url == "none:"
        store = Store(folder, with_outbox=not silent)
        # The recorder is made below: it tells the health, which tells the signal, which tells the recorder.
        outbox = Outbox(folder, lambda ids: recorder.strike(ids))  # noqa: PLW0108
        guard = DeadlineGuard(config.trigger.queue)
        note: Callable[[str, str], None] = lambda *e: recorder.event(*e)  # noqa: E731, PLW0108
        trigger = build_trigger(config, guard, on_event=note, on_health=lambda *h: tell(*h))  # noqa: PLW0108
        heard: dict[str, Hearing] = {"command": lambda said: panel.press(said.payload, retained=said.retain)}
        heard |= hearing(trigger)
        lane = None if silent else _result_lane(broker, identity, outbox, note, heard)
        signal = build_signal(config, identity, lane)
        health = Health(signal)
        reader = Reader(folder)
        stages.callback(reader.close)
        tell: Callable[[str, bool], None] = lambda reason, wrong: health.set(reason, wrong=wrong)  # noqa: E731
        ledger = _Ledger(reader)
        camera = source or build_camera(config, folder, ledger, once=once, on_health=tell, on_event=note)
        recorder: Recorder = Recorder(identity.session, store, Evidence(folder, config.record), camera.release, tell)
        respond = lane.respond if isinstance(lane, MqttSignal) else lambda _: None
        panel: OperatorPanel = OperatorPanel(
            Alarms(config.alarms), build_challenge(config, reader), load, tell, note, respond
        )
        recorder.start()
        stages.callback(recorder.stop)
        signal.start()
        stages.callback(signal.stop)
        if lane is not None:
            if not lane.wait_connected(FIRST_CONNECTION_ONCE_S if once else FIRST_CONNECTION_S):
                log.warning(
                    "expected a connection to %s by now. Inspection goes on: verdicts are recorded, not sent, and the "
                    "records are forwarded later. Start the broker, or set broker.url",
                    broker.url,
                )
            outbox.start(lane)
            stages.callback(outbox.stop)
        station = Station(
            identity,
            camera,
            trigger,
            inspector,
            signal,
            recorder,
            health,
            guard=guard,
            max_frame_age_ms=config.trigger.max_frame_age_ms,
            panel=panel,
        )
        with _stopped_by_thread_faults(stop) as faults:
            station.run(stop)
            if faults:
                return 1
            log.info("inspected: %s", ", ".join(f"{n} {outcome.value}" for outcome, n in station.counts.items()))
            return _deliver(recorder, reader, stop, wait=once and not silent)


def build_challenge(config: Config, reader: Reader) -> Challenge:
    """The challenges of a config, with what became of those before this start."""
    past = Past.of(reader.newest_events([kind.value for kind in Kind]))
    return Challenge(config.challenge.every_h, config.line.deadline_ms, past, time.monotonic_ns)


def load_inspector(config: Config, passed: Callable[[str], Callable[[Features], object]]) -> tuple[Inspector, str]:
    """The inspector of the config's bundle, else the installed current one, and the bundle's name and version.

    Args:
        config: the configuration.
        passed: gives what is told of the frames that a bundle judges, by the bundle's name and version.

    Raises:
        BundleError: if its sums do not hold.
        ModelError: if the model cannot be run.
        ConfigError: if the config's thresholds do not fit the bundle's.
    """
    bundle = load_bundle(config.model.bundle or InstalledBundles(data_dir(config)).current())
    return build_inspector(config, bundle, passed(bundle.card.id)), bundle.card.id


def _result_lane(
    broker: Broker,
    identity: Identity,
    outbox: Outbox,
    on_event: Callable[[str, str], None],
    listeners: Mapping[str, Hearing],
) -> "MqttSignal | SparkplugSignal":
    """The signal that goes over MQTT, and with it the records."""
    who = identity.station, identity.session, identity.model
    if broker.payload == "sparkplug_b":
        from edge_qc.signal.sparkplug import SparkplugSignal  # noqa: PLC0415 - only the signals in use are loaded

        return SparkplugSignal(broker, *who, outbox.acknowledged, on_event)
    return MqttSignal(broker, *who, outbox.acknowledged, on_event, listeners)


def build_signal(config: Config, identity: Identity, lane: Signal | None) -> Signal:
    """The one signal of a station: that over MQTT, if any, and the servers that the config enables beside it."""
    signals = [] if lane is None else [lane]
    if config.modbus.enabled:
        from edge_qc.signal.modbus import ModbusSignal  # noqa: PLC0415

        signals.append(ModbusSignal(config.modbus, identity.session, config.broker.rejected_outcomes))
    if config.opcua.enabled:
        from edge_qc.signal.opcua import OpcUaSignal  # noqa: PLC0415

        who = identity.station, identity.session, identity.model
        signals.append(OpcUaSignal(config.opcua, *who, config.broker.rejected_outcomes))
    if len(signals) > 1:
        from edge_qc.signal.fanout import FanOut  # noqa: PLC0415

        return FanOut(signals)
    return signals[0] if signals else NoSignal()


def build_inspector(config: Config, bundle: Bundle, passed: Callable[[Features], object] = ignore) -> Inspector:
    """The inspector of a config and a bundle.

    Args:
        config: the configuration.
        bundle: a verified bundle.
        passed: see ``QualityGate``.

    Raises:
        ModelError: if the model cannot be run.
        ConfigError: if the config's thresholds or its region do not fit the bundle's.
    """
    card, asked = bundle.card, config.decide
    ok_below = card.thresholds.ok_below if asked.ok_below is None else asked.ok_below
    reject_from = card.thresholds.reject_from if asked.reject_from is None else asked.reject_from
    if ok_below > reject_from:
        fault = (
            f"decide: ok_below ({ok_below:g}) must not exceed reject_from ({reject_from:g}); "
            f"what is null comes from the bundle {card.id}. Set both"
        )
        raise ConfigError([fault], where="config")
    region = config.region or card.input.region
    if region is not None and card.input.region is not None and not region.same_size(card.input.region):
        fault = (
            f"region: expected the size that {card.id} was trained with, {card.input.region}, got {region}. "
            "Move it, but keep its size, or train anew"
        )
        raise ConfigError([fault], where="config")
    return Inspector(
        QualityGate(config.quality, card.statistics, passed),
        LiteRtClassifier(bundle, config.model.threads),
        card.ok_labels,
        ok_below,
        reject_from,
        fit=card.input.fitting(region).frame,
    )


def build_drift_watch(
    config: Config, model: str, tell: Callable[[str, bool], None], on_event: Callable[[str, str], None]
) -> DriftWatch:
    """The watch over slow drift, with the reference of earlier runs.

    Args:
        config: the configuration.
        model: name and version of the bundle.
        tell: told ``drift``, and whether anything has drifted.
        on_event: told each change.
    """
    conditions = {"source": source_name(config), "region": str(config.region), "model": model}
    file = ReferenceFile(data_dir(config), conditions)

    def changed(what: Drifted) -> None:
        log.log(logging.WARNING if what.out else logging.INFO, "%s", what.detail)
        on_event("drift", what.detail)
        tell(DRIFT, bool(watch.out))

    watch = DriftWatch(config.drift, references=file.load(), learned=file.save, changed=changed)
    return watch


class _Ledger:
    """The record's knowledge of files. A disk that fails must not stop the line: then a file may come twice."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def was_taken(self, stamp: FileStamp) -> bool:
        """See ``capture.folder.Ledger``."""
        try:
            return self._reader.was_taken(stamp)
        except sqlite3.Error as error:
            log.warning("the record cannot be asked for %s: %s", stamp.path, error)
            return False

    def digests(self, path: str, size_bytes: int) -> set[bytes]:
        """See ``capture.folder.Ledger``."""
        try:
            return self._reader.digests(path, size_bytes)
        except sqlite3.Error as error:
            log.warning("the record cannot be asked for %s: %s", path, error)
            return set()


def data_dir(config: Config) -> Path:
    """Folder of records and pictures: the config's, else systemd's state directory, else ``./edge-qc-data``."""
    if config.record.data_dir is not None:
        return config.record.data_dir
    under_systemd = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(under_systemd or "edge-qc-data")


@contextmanager
def _broker(config: Config) -> Iterator[Broker]:
    if config.broker.url != "embedded:":
        yield config.broker
        return
    from edge_qc.signal.embedded import EmbeddedBroker  # noqa: PLC0415 - amqtt loads for half a second

    with EmbeddedBroker() as embedded:
        log.info("embedded broker at %s", embedded.url)
        yield config.broker.model_copy(update={"url": embedded.url})


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    before = {number: posix.signal(number, lambda *_: stop.set()) for number in (posix.SIGTERM, posix.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            posix.signal(number, handler)


@contextmanager
def _stopped_by_thread_faults(stop: threading.Event) -> Iterator[list[str]]:
    """Stops the station when one of its threads dies of what nobody foresaw: better restarted than half dead.

    Gives the names of the threads that died. paho's own threads are made anew with each connection.
    """
    died: list[str] = []
    before = threading.excepthook

    def note(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else "?"
        log.error(
            "thread %s died", name, exc_info=(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
        )
        if not name.startswith("paho-mqtt-client"):
            died.append(name)
            stop.set()

    threading.excepthook = note
    try:
        yield died
    finally:
        threading.excepthook = before


def _deliver(recorder: Recorder, reader: Reader, stop: threading.Event, *, wait: bool) -> int:
    """Writes every record and, where asked, waits until the broker has them all or falls silent."""
    within_s = FLUSH_STOPPED_S if stop.is_set() else FLUSH_S
    if not recorder.flush(within_s):
        log.error("records could not be written within %g s", within_s)
        return 1
    waiting, moved_s = reader.waiting_count() if wait else 0, time.monotonic()
    while waiting and not stop.wait(0.05):
        left = reader.waiting_count()
        if left < waiting:
            waiting, moved_s = left, time.monotonic()
        elif time.monotonic() - moved_s > DELIVERY_SILENCE_S:
            raise SignalError(
                f"{left} records wait in the outbox",
                expected="the broker to take every record",
                got=f"no progress for {DELIVERY_SILENCE_S:g} s",
                remedy="Start the broker; the next run delivers them",
            )
    return 0
