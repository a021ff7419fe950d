"""A photo-eye on a GPIO pin, through gpiozero (extra `pi`)."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from edge_qc.capture.base import Camera
from edge_qc.errors import CaptureError
from edge_qc.sections import Trigger as Settings
from edge_qc.trigger.base import Parts


class Fired(Protocol):
    """A trigger that is told from outside that a part is there."""

    def fire(self, part_id: str | None = None, at_ns: int | None = None) -> None:
        """A part is in front of the camera since ``at_ns`` (monotonic nanoseconds); from any thread."""
        ...

    def parts(self, camera: Camera) -> Parts:
        """See ``Trigger``."""
        ...


class PhotoEye:
    """See ``Trigger``. Each edge of the pin is a part; its trigger time is the edge, as this process hears of it.

    An edge counts if the pin had been quiet for the debounce time, edges of the other kind included: so neither the
    coming nor the leaving of a part counts twice, however the contact chatters, and no edge waits for the next.

    Args:
        settings: pin, edge, pull and debounce.
        fired: makes parts of the edges.
        pin_factory: gpiozero's; None takes the one of this machine.
        clock: monotonic nanoseconds.
    """

    def __init__(
        self,
        settings: Settings,
        fired: Fired,
        *,
        pin_factory: Any = None,  # noqa: ANN401 - gpiozero has no types
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._settings, self._fired, self._pin_factory, self._clock = settings, fired, pin_factory, clock
        self._quiet_ns = settings.debounce_ms * 1_000_000
        self._last_edge_ns = clock() - self._quiet_ns

    def parts(self, camera: Camera) -> Parts:
        """See ``Trigger``. The pin is held while the parts are asked for.

        Raises:
            CaptureError: if there is no such pin, it is in use, or gpiozero is missing.
        """
        device = self._open()
        try:
            active_is_low = self._settings.gpio_pull == "up"  # so gpiozero has it
            activates = (self._settings.gpio_edge == "rising") != active_is_low
            # gpiozero gives its callbacks the device only if they take an argument.
            device.when_activated = lambda: self._edge(wanted=activates)
            device.when_deactivated = lambda: self._edge(wanted=not activates)
            yield from self._fired.parts(camera)
        finally:
            device.close()

    def _edge(self, *, wanted: bool) -> None:
        now_ns = self._clock()
        quiet = now_ns - self._last_edge_ns >= self._quiet_ns
        self._last_edge_ns = now_ns
        if wanted and quiet:
            self._fired.fire(at_ns=now_ns)

    def _open(self) -> Any:  # noqa: ANN401
        pin = self._settings.gpio_pin
        try:
            import gpiozero  # noqa: PLC0415 - only on devices that have pins
        except ImportError:
            raise CaptureError(
                f"GPIO {pin} cannot be read",
                expected="gpiozero",
                got="none",
                remedy="pip install 'edge-qc[pi]'",
            ) from None
        pull_up = {"up": True, "down": False, "none": None}[self._settings.gpio_pull]
        active_state = True if pull_up is None else None  # with a pull, gpiozero knows it
        try:
            return gpiozero.DigitalInputDevice(
                pin, pull_up=pull_up, active_state=active_state, pin_factory=self._pin_factory
            )
        except (gpiozero.GPIOZeroError, OSError, ImportError) as error:
            raise CaptureError(
                f"GPIO {pin} cannot be read",
                expected="a pin of this machine that no other program holds, and the permission for /dev/gpiochip0",
                got=str(error) or type(error).__name__,
                remedy="Look with `pinctrl`, add the user to the group `gpio`, or set trigger.gpio_pin",
            ) from error
