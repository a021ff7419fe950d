"""From a trigger in the config to the adapter that says when a part is there."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge_qc.capture.base import TellHealth, tell_nobody
from edge_qc.config import Config
from edge_qc.deadline import DeadlineGuard
from edge_qc.errors import ConfigError
from edge_qc.picture import PICTURE_SUFFIXES
from edge_qc.signal.link import Message
from edge_qc.sources import is_device, source_name
from edge_qc.trigger.base import Trigger
from edge_qc.trigger.every_frame import EveryFrame
from edge_qc.trigger.message import TriggerMessage
from edge_qc.trigger.remote import RemoteTrigger

TOPIC = "trigger"


def build_trigger(
    config: Config,
    guard: DeadlineGuard,
    *,
    on_event: Callable[[str, str], None] = tell_nobody,
    on_health: TellHealth = tell_nobody,
) -> Trigger:
    """The adapter for the config's trigger.

    Args:
        config: the configuration.
        guard: watches each part from its trigger on.
        on_event: told what an auditor will ask about; from any thread.
        on_health: told why a trigger makes the station degraded; from any thread.

    Raises:
        ConfigError: if the source does not go with it.
    """
    settings, source, deadline_ms = config.trigger, source_name(config), config.line.deadline_ms
    if settings.kind == "every_frame":
        return EveryFrame(source, deadline_ms)
    _check_source(config)
    if settings.kind == "presence":
        from edge_qc.trigger.passage import Passages  # noqa: PLC0415 - only the trigger in use is loaded
        from edge_qc.trigger.presence import Presence  # noqa: PLC0415
        from edge_qc.trigger.scene import Scene  # noqa: PLC0415

        scene = Scene(settings.region, settings.difference_levels, settings.min_area_share)
        # The other half is for judging, and for waiting behind other parts.
        wait_ns = min(deadline_ms, settings.max_frame_age_ms or deadline_ms) * 1_000_000 // 2
        passages = Passages(scene, settings.min_area_share, settings.votes, wait_ns, config.region)
        return Presence(source, deadline_ms, guard, passages, on_health=on_health)
    remote = RemoteTrigger(source, deadline_ms, guard, votes=settings.votes, on_event=on_event)
    if settings.kind == "gpio":
        from edge_qc.trigger.gpio import PhotoEye  # noqa: PLC0415

        return PhotoEye(settings, remote)
    return remote


def hearing(trigger: Trigger) -> dict[str, Callable[[Message], None]]:
    """By the name of a topic that a trigger listens to, what is to be called with each message on it."""
    return {TOPIC: partial(_hear, trigger)} if isinstance(trigger, RemoteTrigger) else {}


def _hear(trigger: RemoteTrigger, said: Message) -> None:
    trigger.hear(TriggerMessage(said.payload, time.monotonic_ns(), retained=said.retain, duplicate=said.duplicate))


def _check_source(config: Config) -> None:
    """A part that is told of from outside, or found in the picture, needs a source that goes on by itself."""
    path = Path(config.source.uri)
    film = config.trigger.kind == "presence" and path.is_file() and path.suffix.lower() not in PICTURE_SUFFIXES
    if film or is_device(path) or not path.exists():
        return
    fault = (
        f"trigger.kind {config.trigger.kind}: expected a source that gives pictures all the time (a camera, "
        f"rtsp:// or sim:), got the files of {path}. Set trigger.kind to every_frame, or source.uri to a camera"
    )
    raise ConfigError([fault], where="config")
