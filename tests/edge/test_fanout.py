"""Several ways to the PLC at once: none is forgotten, and the record says the worst."""

import pytest

from edge_qc.assembly import build_signal
from edge_qc.config import Config
from edge_qc.domain import Signalled
from edge_qc.errors import SignalError
from edge_qc.signal.fanout import FanOut
from edge_qc.signal.modbus import ModbusSignal
from edge_qc.signal.mqtt import NoSignal
from edge_qc.signal.opcua import OpcUaSignal
from edge_qc.station import Identity
from fakes import FakeSignal, inspection

IDENTITY = Identity("abcd1234", "line1/cam1", "m-1.0.0")


class Telling(FakeSignal):
    """Answers as it was told to, and counts its stops."""

    def __init__(self, answer: Signalled = "sent", fault: Exception | None = None) -> None:
        super().__init__()
        self.stops, self._answer, self._fault = 0, answer, fault

    def start(self) -> None:
        if self._fault:
            raise self._fault

    def send(self, inspection: object) -> Signalled:
        return self._answer

    def stop(self) -> None:
        self.stops += 1


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (("sent", "sent"), "sent"),
        (("sent", "expired"), "expired"),
        (("offline", "sent"), "offline"),
        (("expired", "offline"), "offline"),
    ],
)
def test_the_record_says_the_worst_of_what_the_signals_said(answers: tuple[Signalled, ...], said: Signalled) -> None:
    assert FanOut([Telling(answer) for answer in answers]).send(inspection()) == said


def test_every_signal_is_told_everything() -> None:
    signals = [FakeSignal(), FakeSignal()]
    signals[0].connected = False
    both = FanOut(signals)
    both.start()
    both.send(inspection())
    both.heartbeat(1)
    both.state("degraded", ("disk",))
    both.stop()
    assert [len(s.sent) for s in signals] == [0, 1]
    assert [s.beats for s in signals] == [[1], [1]]
    assert [s.states for s in signals] == [[("degraded", ("disk",))]] * 2


def test_one_that_cannot_be_started_leaves_none_running() -> None:
    first, last = Telling(), Telling()
    with pytest.raises(SignalError):
        FanOut([first, Telling(fault=SignalError("the port is taken")), last]).start()
    assert (first.stops, last.stops) == (1, 0)


def test_the_config_says_which_signals_there_are() -> None:
    lane = FakeSignal()
    modbus = Config.model_validate({"modbus": {"enabled": True}})
    both = Config.model_validate({"modbus": {"enabled": True}, "opcua": {"enabled": True}})
    assert build_signal(Config(), IDENTITY, lane) is lane, "MQTT alone has nothing in its way"
    assert isinstance(build_signal(Config(), IDENTITY, None), NoSignal)
    assert isinstance(build_signal(modbus, IDENTITY, None), ModbusSignal)
    made = build_signal(both, IDENTITY, lane)
    assert isinstance(made, FanOut)
    assert [type(s) for s in made._signals] == [FakeSignal, ModbusSignal, OpcUaSignal]
