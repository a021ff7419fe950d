"""`edge-qc camera`: which cameras there are, what can be set on them, and how to find a profile that holds."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import yaml

from edge_qc.capture.v4l2_device import Control, Device, V4l2Device
from edge_qc.capture.v4l2_format import PREFERRED, choose_format, luma
from edge_qc.capture.v4l2_nodes import explained, nodes, open_capturing, stable_path
from edge_qc.capture.v4l2_profile import MANUAL
from edge_qc.config import Config
from edge_qc.domain import Pixels
from edge_qc.errors import CaptureError, RecordError

Say = Callable[[str], object]
OpenDevice = Callable[[str], Device]

# What a camera changes by itself, and what is read back once it has settled.
HELD = (
    "exposure_absolute",
    "exposure",
    "gain",
    "analogue_gain",
    "white_balance_temperature",
    "red_balance",
    "blue_balance",
    "focus_absolute",
    "power_line_frequency",
)
# The value of each switch that lets the camera find its own; of several, the first that the camera has.
AUTOMATIC = {"exposure_auto": (3, 0, 2), "autogain": (1,), "auto_white_balance": (1,), "focus_auto": (1,)}
STEADY_GREY_LEVELS, STEADY_S = 1.0, 1.5  # settled: the mean has not moved further for so long
SETTLE_S = 15.0
LOOK_EVERY_S = 0.5
FRAME_S = 2.0


def list_cameras(say: Say) -> None:
    """Prints every video device, and of those that give pictures the formats, sizes and rates."""
    found = list(nodes())
    if not found:
        say("no /dev/video* at all: is the camera plugged in? CSI cameras: rpicam-hello --list-cameras")
    for node in found:
        identity = node.identity
        if identity is None:
            say(f"{node.path}  {node.fault}: add the user to the group `video`")
            continue
        say(f"{node.path}  {identity.card} ({identity.driver}, {identity.bus})")
        if not identity.captures:
            say("  gives no pictures: metadata or output")
            continue
        say(f"  source.uri: {node.stable}")
        device = V4l2Device(node.path)
        try:
            for line in _formats(device):
                say(f"  {line}")
        finally:
            device.close()


def _formats(device: Device) -> Iterator[str]:
    formats = device.formats()
    for name in PREFERRED:
        offered = []
        for size in formats.get(name, ()):
            rates = device.rates(name, size.greatest)
            offered.append(f"{size} ({max(rates):g} Hz)" if rates else str(size))
        if name in formats:
            yield f"{name} {', '.join(offered)}"
    others = [name for name in formats if name not in PREFERRED]
    if others:
        yield f"not read: {' '.join(others)}"


def show_camera(path: str, say: Say, open_device: OpenDevice = V4l2Device) -> None:
    """Prints a camera's controls: name, value, default and range.

    Raises:
        CaptureError: if it cannot be opened, or gives no pictures.
    """
    device, identity = open_capturing(path, open_device)
    try:
        say(f"{path}  {identity.card} ({identity.driver}, {identity.bus})")
        for control in device.controls():
            notes = [note for note, so in (("read only", not control.writable), ("inactive", control.inactive)) if so]
            also = "" if control.alias == control.name else f", v4l2-ctl: {control.alias}"
            say(
                f"  {control.name:28} {_value(device, control):>8}  default {control.default}, {control.range}{also}"
                + "".join(f", {note}" for note in notes)
            )
    except OSError as error:
        raise explained(error, path) from error
    finally:
        device.close()


def _value(device: Device, control: Control) -> str:
    try:
        return str(device.get(control))
    except OSError:  # some may only be written
        return "?"


def tune_camera(
    path: str, config: Config, say: Say, *, write: Path | None = None, open_device: OpenDevice = V4l2Device
) -> str:
    """Lets a camera find its own exposure, gain, white balance and focus, and holds it there.

    Args:
        path: of the video device.
        config: size and rate.
        say: told what is seen, twice a second.
        write: a new file for the profile.
        open_device: opens a node.

    Returns:
        The profile as YAML, for the config file.

    Raises:
        CaptureError: if it cannot be opened, gives no pictures or does not keep what is set.
        RecordError: if the file is there already or cannot be written.
    """
    if write is not None and write.exists():
        raise RecordError(f"{write} is there already", expected="a new file", remedy="Give --write another name")
    device, _ = open_capturing(path, open_device)
    try:
        profile = _tune(device, path, config, say)
    except OSError as error:
        raise explained(error, path) from error
    finally:
        device.close()
    source = {"uri": stable_path(Path(path))} | config.source.model_dump(include={"width_px", "height_px", "rate_hz"})
    text = yaml.safe_dump({"source": source, "camera": {"controls": profile}}, sort_keys=False)
    if write is not None:
        try:
            write.write_text(text)
        except OSError as error:
            raise RecordError(f"{write} cannot be written", got=error.strerror or str(error)) from error
    return text


def _tune(device: Device, path: str, config: Config, say: Say) -> dict[str, int]:
    source = config.source
    controls = {control.name: control for control in device.controls() if control.writable}
    for name, values in AUTOMATIC.items():
        value = next((v for v in values if name in controls and controls[name].takes(v)), None)
        if value is not None:
            device.set(controls[name], value)
    look = _Look(device, path, config)
    watched = [control for name, control in controls.items() if name in HELD]
    say(f"looking through {look.layout}; put a good part under the camera in the line's own light")
    _settle(look, lambda: say(look.words() + "".join(f", {c.name} {device.get(c)}" for c in watched)))
    wanted = {name: value for name, value in MANUAL.items() if name in controls and controls[name].takes(value)}
    wanted |= {control.name: device.get(control) for control in watched}
    for name, value in wanted.items():
        device.set(controls[name], value)
    look.next()
    kept = {name: device.get(controls[name]) for name in wanted}
    if kept != wanted:
        lost = ", ".join(f"{name} {wanted[name]} became {kept[name]}" for name in wanted if kept[name] != wanted[name])
        raise CaptureError(f"{path} does not keep what is set: {lost}", remedy="Leave these out of camera.controls")
    say(f"held: {look.words()}")
    if not source.rate_hz <= look.layout.rate_hz * 1.05:
        say(f"the camera gives {look.layout.rate_hz:g} Hz where source.rate_hz asks for {source.rate_hz:g}")
    return wanted


class _Look:
    """The live picture."""

    def __init__(self, device: Device, path: str, config: Config) -> None:
        source = config.source
        self._device, self._path = device, path
        wanted = choose_format(device, path, source)
        self.layout = device.start(wanted, (source.width_px, source.height_px), source.rate_hz)
        self.pixels: Pixels = self.next()

    def next(self) -> Pixels:
        """The newest whole picture.

        Raises:
            CaptureError: if none comes.
        """
        newest, until_s = None, time.monotonic() + FRAME_S
        while time.monotonic() < until_s:
            buffer = self._device.take(0.0 if newest is not None else until_s - time.monotonic())
            if buffer is None:
                break
            pixels = None if buffer.flawed else luma(self.layout, buffer.data)
            self._device.give_back(buffer)
            newest = pixels if pixels is not None else newest
        if newest is None:
            raise CaptureError(f"{self._path} gives no picture", expected=f"one within {FRAME_S:g} s", got="none")
        self.pixels = newest
        return newest

    def words(self) -> str:
        """What matters of the picture: light, contrast, and sharpness (variance of the Laplacian)."""
        mean, deviation = (float(figure[0, 0]) for figure in cv2.meanStdDev(self.pixels))
        sharpness = float(cv2.Laplacian(self.pixels, cv2.CV_32F).var())
        clipped = float((self.pixels >= 254).mean()) * 100
        return f"mean {mean:.0f}, deviation {deviation:.0f}, sharpness {sharpness:.0f}, {clipped:.1f} % clipped"


def _settle(look: _Look, tell: Callable[[], object]) -> None:
    """Until the light in the picture has stood still for a while."""
    began_s = steady_since_s = told_s = time.monotonic()
    level = float(look.pixels.mean())
    while time.monotonic() - began_s < SETTLE_S:
        now_s, now_level = time.monotonic(), float(look.next().mean())
        if abs(now_level - level) > STEADY_GREY_LEVELS:
            level, steady_since_s = now_level, now_s
        if now_s - told_s >= LOOK_EVERY_S:
            told_s = now_s
            tell()
        if now_s - steady_since_s >= STEADY_S:
            return
