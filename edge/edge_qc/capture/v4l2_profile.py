"""The camera's profile: its controls held at what the config says, so that a picture today is a picture tomorrow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge_qc.capture.v4l2_device import Control, Device
from edge_qc.errors import CaptureError

# Switches between automatic and manual, and the value of each that means manual. They are set before the values that
# they hold. V4L2_EXPOSURE_MANUAL is 1.
MANUAL = {
    "exposure_auto": 1,
    "exposure_auto_priority": 0,
    "autogain": 0,
    "auto_white_balance": 0,
    "focus_auto": 0,
    "hue_auto": 0,
    "autobrightness": 0,
}


def find(controls: list[Control], name: str) -> Control | None:
    """The control of a name: the kernel's symbol, or as ``v4l2-ctl`` has it."""
    return next((c for c in controls if c.name == name), None) or next((c for c in controls if c.alias == name), None)


@dataclass(frozen=True, slots=True)
class Setting:
    """A control and the value that it shall have."""

    control: Control
    value: int


def resolve(device: Device, path: str, wanted: Mapping[str, float]) -> list[Setting]:
    """The controls of a profile, the switches to manual first.

    Raises:
        CaptureError: telling every control that the camera has not, and every value that is out of its range.
        OSError: if the camera cannot be asked.
    """
    controls = device.controls() if wanted else []
    chosen = {name: find(controls, name) for name in wanted}
    faults = [fault for name, control in chosen.items() for fault in _faults(name, control, wanted[name])]
    if faults:
        raise CaptureError(
            f"camera.controls does not fit {path}: {'; '.join(faults)}",
            remedy=f"`edge-qc camera show {path}` lists what it has, `edge-qc camera tune {path}` writes a profile",
        )
    settings = [Setting(control, int(wanted[name])) for name, control in chosen.items() if control is not None]
    return sorted(settings, key=lambda s: s.control.name not in MANUAL)


def apply(device: Device, path: str, profile: Sequence[Setting]) -> None:
    """Sets the controls.

    Raises:
        CaptureError: if the camera refuses or is gone.
    """
    for setting in profile:
        try:
            device.set(setting.control, setting.value)
        except OSError as error:
            raise CaptureError(
                f"{setting.control.name} of {path} cannot be set to {setting.value}",
                expected="a control that nothing else has in its hands",
                got=error.strerror or str(error),
                remedy="Add the switch that makes it manual to camera.controls, such as exposure_auto: 1",
            ) from error


def drift(device: Device, profile: Sequence[Setting]) -> list[str]:
    """The controls that are not as they were set, in words.

    Raises:
        OSError: if the camera cannot be asked.
    """
    read = [(setting, device.get(setting.control)) for setting in profile]
    return [f"{s.control.name}: expected {s.value}, got {got}" for s, got in read if got != s.value]


def _faults(name: str, control: Control | None, value: float) -> Iterator[str]:
    if control is None:
        yield f"{name}: no such control"
    elif not control.writable:
        yield f"{name}: can only be read"
    elif not control.takes(value):
        yield f"{name}: expected {control.range}, got {value:g}"
