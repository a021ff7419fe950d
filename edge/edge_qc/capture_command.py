"""`edge-qc capture`: pictures for training, from the running line: the station's source and trigger, no verdicts."""

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import cv2

from edge_qc.assembly import data_dir
from edge_qc.config import Config
from edge_qc.deadline import Claim, DeadlineGuard
from edge_qc.domain import Frame, Part
from edge_qc.errors import RecordError, SignalError
from edge_qc.signal.link import Link
from edge_qc.sources import NoLedger, build_camera
from edge_qc.trigger.base import Trigger
from edge_qc.triggers import build_trigger, hearing

MB = 1_000_000
CONNECTION_S = 5.0


@dataclass(slots=True)
class Captured:
    """What a run has done.

    Attributes:
        written: pictures written.
        without_picture: parts that gave none.
        why_ended: a sentence.
    """

    written: int = 0
    without_picture: int = 0
    why_ended: str = "the source has ended"


def capture(config: Config, out: Path, *, parts: int | None, every_s: float, stop: threading.Event) -> Captured:
    """Writes a picture of each part into a folder until told to stop; of several frames the best.

    Args:
        config: source, trigger, broker (for the trigger ``mqtt``) and ``record.free_floor_mb`` are looked at.
        out: the folder; made where it is not there. No file in it is ever overwritten.
        parts: end after so many pictures; None for no end.
        every_s: at most one picture in so many seconds; 0 for all.
        stop: ends the run when it is set.

    Raises:
        CaptureError: if the source cannot be opened, or is lost.
        ConfigError: if the trigger does not go with the source.
        RecordError: if the folder cannot be written.
        SignalError: if the trigger is ``mqtt`` and the broker does not answer.
    """
    _make(out)
    done = Captured()
    guard = DeadlineGuard(config.trigger.queue)
    trigger = build_trigger(config, guard)
    camera = build_camera(config, data_dir(config), NoLedger(), once=False)
    next_ns = 0
    with ExitStack() as stages:
        guard.start(_give_up)
        stages.callback(guard.stop)
        stages.callback(camera.close)
        camera.open()
        stages.enter_context(_listening(config, trigger))
        for part in stages.enter_context(closing(trigger.parts(camera))):
            if part is not None and part.triggered_ns >= next_ns:
                if not _has_room(out, config):
                    done.why_ended = f"less than {config.record.free_floor_mb} MB are free (record.free_floor_mb)"
                    return done
                with guard.for_part(part) as claim:
                    claim.take()
                frame = part.loaded().frame
                if frame is None:
                    done.without_picture += 1
                else:
                    _write(out, part, frame)
                    done.written += 1
                    next_ns = part.triggered_ns + round(every_s * 1e9)
            if done.written == parts or stop.is_set():
                done.why_ended = "told to stop" if stop.is_set() else f"{parts} pictures were asked for"
                return done
    return done


def summary(done: Captured, out: Path) -> str:
    """What was done, and what to do next."""
    lines = [f"{done.written} pictures in {out} ({done.why_ended})"]
    if done.without_picture:
        lines.append(f"{done.without_picture} parts gave no picture: `edge-qc check` looks at the camera")
    if done.written:
        lines += [
            "Next: sort them into a folder for each class (ok/, scratch/, ...), then train:",
            f"  edge-qc-train fit {out} --out runs/first",
        ]
    return "\n".join(lines)


@contextmanager
def _listening(config: Config, trigger: Trigger) -> Iterator[None]:
    """Hears what a PLC says on ``trigger``, where that is the trigger."""
    heard = hearing(trigger)
    if not heard:
        yield
        return
    if config.broker.url == "embedded:":  # nobody else would be on it
        raise SignalError(
            "no broker to hear triggers from",
            expected="mqtt://… or mqtts://…",
            got=config.broker.url,
            remedy="Set broker.url, or another trigger.kind",
        )
    prefix = f"{config.broker.root}/{config.station}/"
    (name, listener), *_ = heard.items()
    link = Link(
        config.broker, f"edge-qc-capture-{os.getpid()}", subscriptions=[(prefix + name, 1)], on_message=listener
    )
    link.start()
    try:
        link.need_connected(CONNECTION_S)
        yield
    finally:
        link.stop()


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        writable = os.access(out, os.W_OK | os.X_OK)
        why = f"no permission for user {os.geteuid()}"
    except OSError as error:
        writable, why = False, error.strerror or str(error)
    if not writable:
        raise RecordError(f"{out} cannot be written", expected="a folder for the pictures", got=why)


def _has_room(out: Path, config: Config) -> bool:
    return shutil.disk_usage(out).free >= config.record.free_floor_mb * MB


def _write(out: Path, part: Part, frame: Frame) -> None:
    """Whole or not at all, and never over another: written beside, then linked to a name that must be free."""
    name = _name(part, frame)
    _, data = cv2.imencode(".png", frame.pixels)
    draft = out / f".{name}.{os.getpid()}"
    try:
        draft.write_bytes(data.tobytes())
        target, number = out / f"{name}.png", 1
        while not _linked(draft, target):
            target, number = out / f"{name}.{number}.png", number + 1
    except OSError as error:
        raise RecordError(
            f"{out} cannot be written", expected="room and permission", got=error.strerror or ""
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _name(part: Part, frame: Frame) -> str:
    taken_at = frame.captured_at.astimezone(UTC)
    return f"{taken_at:%Y%m%dT%H%M%S}.{taken_at.microsecond // 1000:03}Z-{part.seq:06}"


def _linked(draft: Path, target: Path) -> bool:
    try:
        target.hardlink_to(draft)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP):
            raise
        if target.exists():
            return False
        draft.rename(target)  # a USB stick (FAT) knows no links, and nobody else writes there
    return True


def _give_up(claim: Claim) -> None:
    """The guard's part in this: a part that waited too long is let go."""
    claim.take()
