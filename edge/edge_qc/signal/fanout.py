"""Several ways to the PLC at once."""

from collections.abc import Sequence
from contextlib import ExitStack

from edge_qc.domain import Inspection, Signalled
from edge_qc.signal.base import Signal, StationState

# What the record should say of a part that did not get through everywhere: no connection is what somebody can mend.
SEVERITY: dict[Signalled, int] = {"sent": 0, "expired": 1, "offline": 2}


class FanOut:
    """See ``Signal``. Every signal is told everything, in the order given.

    Args:
        signals: at least one.
    """

    def __init__(self, signals: Sequence[Signal]) -> None:
        self._signals = tuple(signals)

    def start(self) -> None:
        """See ``Signal``. If one cannot be started, those before it are stopped."""
        with ExitStack() as started:
            for signal in self._signals:
                started.callback(signal.stop)
                signal.start()
            started.pop_all()

    def send(self, inspection: Inspection) -> Signalled:
        """See ``Signal``. ``sent`` only if every signal has sent it, else the worst of their answers."""
        return max([signal.send(inspection) for signal in self._signals], key=SEVERITY.__getitem__)

    def heartbeat(self, seq: int) -> None:
        """See ``Signal``."""
        for signal in self._signals:
            signal.heartbeat(seq)

    def state(self, state: StationState, reasons: tuple[str, ...]) -> None:
        """See ``Signal``."""
        for signal in self._signals:
            signal.state(state, reasons)

    def model(self, model: str) -> None:
        """See ``Signal``."""
        for signal in self._signals:
            signal.model(model)

    def stop(self) -> None:
        """See ``Signal``. The last one first; a fault in one does not keep the others from being stopped."""
        with ExitStack() as stages:
            for signal in self._signals:
                stages.callback(signal.stop)
