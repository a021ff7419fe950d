"""`edge-qc check`: camera, model, broker, disk, clock, permissions; a line each, and what to do about each fault."""

import importlib
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge_qc.assembly import build_inspector, data_dir
from edge_qc.bundle import load_bundle
from edge_qc.capture.base import EndOfSource
from edge_qc.config import Config
from edge_qc.errors import CaptureError, EdgeQcError, RecordError, SignalError
from edge_qc.installed import InstalledBundles
from edge_qc.record.evidence import MB
from edge_qc.signal.link import Link
from edge_qc.sources import NoLedger, build_camera, source_name

FRAME_S = 5.0
CONNECTION_S = 4.0
CLOCK_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
SANE_SINCE = datetime(2026, 1, 1, tzinfo=UTC)  # a Raspberry Pi without a clock battery wakes up years before


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check.

    Attributes:
        name: what was looked at.
        ok: whether it is well.
        text: what was found, and what to do about a fault.
    """

    name: str
    ok: bool
    text: str


def check_all(config: Config) -> Iterator[Finding]:
    """Looks at everything a station needs, one thing after the other, without touching the line."""
    looks: dict[str, Callable[[Config], str]] = {
        "camera": _camera,
        "model": _model,
        "broker": _broker,
        **({"modbus": _modbus} if config.modbus.enabled else {}),
        **({"opcua": _opcua} if config.opcua.enabled else {}),
        "disk": _disk,
        "clock": _clock,
        "permissions": _permissions,
    }
    for name, look in looks.items():
        try:
            yield Finding(name, ok=True, text=look(config))
        except EdgeQcError as error:
            yield Finding(name, ok=False, text=str(error))


def _camera(config: Config) -> str:
    told: list[tuple[str, str]] = []
    camera = build_camera(config, data_dir(config), NoLedger(), once=True, on_event=lambda *event: told.append(event))
    camera.open()
    try:
        if Path(config.source.uri).is_dir():  # its files are the line's: none is taken
            return f"watch folder {config.source.uri}"
        shot = camera.read(FRAME_S)
    except EndOfSource:
        shot = None
    finally:
        camera.close()
    if shot is None or shot.frame is None:
        raise CaptureError(
            f"{source_name(config)} gives no picture",
            expected=f"one within {FRAME_S:g} s",
            got="none" if shot is None or shot.fault is None else shot.fault.detail,
            remedy="Check cable, power and lens cap",
        )
    height, width = shot.frame.pixels.shape
    drifted = [detail for kind, detail in told if kind == "camera_profile"]
    if drifted:
        raise CaptureError(
            f"the camera does not keep its profile: {'; '.join(drifted)}",
            remedy=f"`edge-qc camera show {config.source.uri}` tells which switch has a control in its hands",
        )
    what = next((detail for kind, detail in told if kind == "camera"), f"{source_name(config)}, {width}x{height}")
    return f"{what}, mean grey level {shot.frame.pixels.mean():.0f}"


def _model(config: Config) -> str:
    bundle = load_bundle(config.model.bundle or InstalledBundles(data_dir(config)).current())
    build_inspector(config, bundle)
    return f"{bundle.card.id}, {len(bundle.model) / 1000:.0f} KB, labels {', '.join(bundle.card.labels)}, sums hold"


def _broker(config: Config) -> str:
    if config.broker.url in ("none:", "embedded:"):
        return config.broker.url
    if config.broker.payload == "sparkplug_b":
        _need_extra("sparkplug", "google.protobuf.descriptor_pb2", "set broker.payload to json")
    link = Link(config.broker, f"edge-qc-check-{secrets.token_hex(4)}")
    began_s = time.monotonic()
    link.start()
    try:
        link.need_connected(CONNECTION_S)
        return f"{config.broker.url}, connected in {(time.monotonic() - began_s) * 1000:.0f} ms"
    finally:
        link.stop()


def _modbus(config: Config) -> str:
    _need_extra("modbus", "pymodbus.server", "set modbus.enabled to false")
    return _free_port("modbus", config.modbus.host, config.modbus.port)


def _opcua(config: Config) -> str:
    _need_extra("opcua", "asyncua", "set opcua.enabled to false")
    return _free_port("opcua", config.opcua.host, config.opcua.port)


def _need_extra(extra: str, module: str, or_else: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise SignalError(
            f"the packages of the extra `{extra}` are missing",
            expected=f"the module {module}",
            got=str(error),
            remedy=f"pip install 'edge-qc[{extra}]', or {or_else}",
        ) from error


def _free_port(section: str, host: str, port: int) -> str:
    """Binds the port for a moment, as the server will, without listening on it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise SignalError(
            f"{section}: {host} port {port} cannot be listened on",
            expected="an address of this machine, and a free port that this user may bind",
            got=error.strerror or str(error),
            remedy=f"Stop what listens there, edge-qc itself too; or set {section}.host and {section}.port",
        ) from error
    return f"extra installed, {host} port {port} is free"


def _disk(config: Config) -> str:
    folder = _existing(data_dir(config).absolute())
    free = shutil.disk_usage(folder).free
    wanted = (config.record.free_floor_mb + 100) * MB
    if free < wanted:
        raise RecordError(
            f"little room on the disk of {folder}",
            expected=f"{wanted / MB:.0f} MB free",
            got=f"{free / MB:.0f} MB",
            remedy="Remove old pictures, or lower record.pictures_quota_mb and record.free_floor_mb",
        )
    return f"{free / 1e9:.1f} GB free at {folder}"


def _clock(config: Config) -> str:  # noqa: ARG001 - all looks are called alike
    now = datetime.now(UTC)
    if now < SANE_SINCE:
        raise RecordError(
            "the clock is wrong",
            expected=f"after {SANE_SINCE:%Y-%m-%d}",
            got=f"{now:%Y-%m-%d %H:%M}",
            remedy="timedatectl set-ntp true, or set the time by hand",
        )
    synchronised = "synchronised" if CLOCK_SYNCHRONISED.exists() else "not seen to be synchronised"
    return f"{now:%Y-%m-%d %H:%M:%S} UTC, {synchronised}"


def _permissions(config: Config) -> str:
    folder = data_dir(config).absolute()
    there = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise RecordError(
            f"{there} cannot be written",
            expected=f"permission for user {os.geteuid()}",
            got=error.strerror or str(error),
            remedy="Run as the user edge-qc, or give --data-dir another folder",
        ) from error
    return f"user {os.geteuid()} may write {folder}"


def _existing(folder: Path) -> Path:
    return next(p for p in (folder, *folder.parents) if p.exists())
