"""The port of signals: what leaves for the PLC because of a verdict."""

from typing import Literal, Protocol

from edge_qc.domain import Inspection, Signalled

StationState = Literal["online", "degraded", "offline"]


class Signal(Protocol):
    """The live lane: now or never. No call blocks for longer than it takes to hand a message over."""

    def start(self) -> None:
        """Begins to connect, in the background. A broker that is down is no error here.

        Raises:
            SignalError: if the settings cannot work, such as a CA file that is not there.
        """
        ...

    def send(self, inspection: Inspection) -> Signalled:
        """Sends the verdict, and the reject signal where one is due.

        Returns:
            ``sent`` if it was handed to a live connection before the deadline, ``expired`` if the deadline had passed,
            ``offline`` if there was no connection. What is not sent now is never sent.
        """
        ...

    def heartbeat(self, seq: int) -> None:
        """Tells the PLC that the inspection loop lives; ``seq`` is the last part's number. Called by the loop alone."""
        ...

    def state(self, state: StationState, reasons: tuple[str, ...]) -> None:
        """Tells the station's state; it is said again after each reconnect."""
        ...

    def model(self, model: str) -> None:
        """Names the bundle that judges from now on, in place of the one that the signal was made with."""
        ...

    def stop(self) -> None:
        """Says ``offline`` and disconnects. Safe to call twice, and without ``start``."""
        ...
