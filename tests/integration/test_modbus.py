"""Verdicts over Modbus TCP, read by a real client."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymodbus.client import ModbusTcpClient

from edge_qc.domain import Outcome
from edge_qc.errors import SignalError
from edge_qc.sections import Broker, Modbus
from edge_qc.signal.modbus import NO_SCORE, REGISTERS, ModbusSignal
from fakes import inspection
from support import Daemon, free_port, rows, wait_until


@dataclass(frozen=True)
class Registers:
    """The registers as a PLC's program names them."""

    bits: int
    verdict: int
    seq: int
    part: int
    score: int
    age_ms: int
    session: int
    beats: int
    state: int
    handshake: int


class Plc:
    """A PLC that polls when it is told to."""

    def __init__(self, port: int) -> None:
        self.client = ModbusTcpClient("127.0.0.1", port=port)
        assert self.client.connect()

    def coils(self) -> list[bool]:
        """reject, ok, heartbeat, online."""
        return list(self.client.read_coils(0, count=4).bits[:4])

    def registers(self) -> Registers:
        r = self.client.read_input_registers(0, count=REGISTERS).registers
        two = [r[i] << 16 | r[i + 1] for i in (2, 4, 8)]
        return Registers(r[0], r[1], two[0], two[1], r[6], r[7], two[2], r[10], r[11], r[13])


class Clock:
    """Nanoseconds that a test moves on."""

    now_ns = 1

    def __call__(self) -> int:
        return self.now_ns


def _signal(clock: Clock | None = None, **settings: object) -> ModbusSignal:
    made = Modbus.model_validate({"port": free_port(), **settings})
    rejected = Broker().rejected_outcomes
    return ModbusSignal(made, "abcd1234", rejected, clock=clock) if clock else ModbusSignal(made, "abcd1234", rejected)


@pytest.fixture
def signal() -> Iterator[ModbusSignal]:
    made = _signal(pulse_ms=60_000)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def plc(signal: ModbusSignal) -> Iterator[Plc]:
    made = Plc(signal._settings.port)
    yield made
    made.client.close()


def test_a_verdict_is_in_the_registers_as_soon_as_it_is_sent(signal: ModbusSignal, plc: Plc) -> None:
    assert plc.registers() == Registers(0, 0, 0, 0, NO_SCORE, 0, 0xABCD1234, 0, 0, 0)
    signal.state("online", ())
    assert signal.send(inspection(Outcome.REJECT, 70_000, part_id="4000000000")) == "sent"
    assert plc.registers() == Registers(0b1001, 2, 70_000, 4_000_000_000, 9000, 8, 0xABCD1234, 0, 2, 1)
    assert plc.coils() == [True, False, False, True]
    assert plc.client.read_holding_registers(0, count=REGISTERS).registers == (
        plc.client.read_input_registers(0, count=REGISTERS).registers
    )
    assert plc.client.read_discrete_inputs(0, count=4).bits[:4] == plc.coils()


@pytest.mark.parametrize(
    ("outcome", "code", "coils"),
    [
        (Outcome.OK, 1, [False, True]),
        (Outcome.REJECT, 2, [True, False]),
        (Outcome.UNSURE, 3, [True, False]),
        (Outcome.NOT_INSPECTED, 4, [True, False]),
    ],
)
def test_each_verdict_has_its_code_and_its_coil(
    signal: ModbusSignal, plc: Plc, outcome: Outcome, code: int, coils: list[bool]
) -> None:
    plc.registers()
    signal.send(inspection(outcome))
    assert plc.registers().verdict == code
    assert plc.coils()[:2] == coils
    assert (plc.registers().score == NO_SCORE) == (outcome is Outcome.NOT_INSPECTED)


def test_every_part_moves_the_handshake_also_when_all_else_is_the_same(signal: ModbusSignal, plc: Plc) -> None:
    plc.registers()
    for number in (1, 2, 3):
        signal.send(inspection(Outcome.REJECT, seq=9))
        assert plc.registers().handshake == number


def test_the_next_part_ends_a_pulse(signal: ModbusSignal, plc: Plc) -> None:
    plc.registers()
    signal.send(inspection(Outcome.REJECT))
    signal.send(inspection(Outcome.OK, 2))
    assert plc.coils()[:2] == [False, True]


def test_a_pulse_ends_by_itself() -> None:
    clock = Clock()
    signal = _signal(clock, pulse_ms=200, poll_timeout_ms=1000)
    signal.start()
    plc = Plc(signal._settings.port)
    plc.registers()
    assert signal.send(inspection(Outcome.REJECT)) == "sent"
    clock.now_ns += 199_000_000
    assert plc.coils()[0]
    clock.now_ns += 1_000_000
    assert not plc.coils()[0]
    assert plc.registers().verdict == 2, "the registers keep the last part"
    plc.client.close()
    signal.stop()


def test_a_late_verdict_is_never_written(signal: ModbusSignal, plc: Plc) -> None:
    before = plc.registers()
    assert signal.send(inspection(deadline_ms=-1)) == "expired"
    assert plc.registers() == before


def test_what_nobody_polled_for_is_not_there_for_the_one_who_comes_later() -> None:
    clock = Clock()
    signal = _signal(clock, poll_timeout_ms=1000)
    signal.start()
    assert signal.send(inspection()) == "offline"
    plc = Plc(signal._settings.port)
    assert signal.send(inspection()) == "offline", "a connection alone reads nothing"
    assert plc.registers().handshake == 0
    assert signal.send(inspection()) == "sent"
    clock.now_ns += 1_000_000_000
    assert signal.send(inspection(seq=2)) == "offline", "a PLC that has stopped polling is gone"
    assert (plc.registers().seq, plc.coils()[0]) == (1, False)
    plc.client.close()
    signal.stop()


def test_the_heartbeat_toggles_and_counts(signal: ModbusSignal, plc: Plc) -> None:
    seen = []
    for seq in range(3):
        signal.heartbeat(seq)
        seen.append((plc.coils()[2], plc.registers().beats))
    assert seen == [(True, 1), (False, 2), (True, 3)]


def test_a_client_can_write_nothing(signal: ModbusSignal, plc: Plc) -> None:
    before = plc.registers()
    assert plc.client.write_coil(0, value=True).isError()
    assert plc.client.write_coils(0, [True, True]).isError()
    assert plc.client.write_register(1, 2).isError()
    assert plc.client.write_registers(0, [0, 0]).isError()
    assert plc.client.mask_write_register(address=1, and_mask=0, or_mask=1).isError()
    assert plc.registers() == before


def test_an_address_that_is_not_there_is_refused(signal: ModbusSignal, plc: Plc) -> None:
    assert plc.client.read_input_registers(REGISTERS, count=1).isError()
    assert plc.client.read_coils(16, count=1).isError()


def test_a_port_that_is_taken_is_said_at_the_start(signal: ModbusSignal) -> None:
    second = _signal(port=signal._settings.port)
    with pytest.raises(SignalError, match="modbus"):
        second.start()


def test_the_daemon_serves_modbus_without_a_broker(tmp_path: Path) -> None:
    port = free_port()
    config = f"source: {{uri: 'sim:?rate=20&defect_rate=0.5'}}\nmodbus: {{enabled: true, port: {port}}}\n"
    (tmp_path / "config.yaml").write_text(config)
    options = ("--config", tmp_path / "config.yaml", "--broker", "none:", "--data-dir", tmp_path / "data")
    with Daemon(tmp_path / "log", *options).wait_ready() as daemon:
        plc = Plc(port)
        seen: dict[int, Registers] = {}

        def poll() -> bool:
            read = plc.registers()
            if read.handshake:
                seen[read.seq] = read
            return len(seen) >= 10

        wait_until(poll)
        beats = plc.registers().beats
        wait_until(lambda: plc.registers().beats > beats)
        plc.client.close()
        assert daemon.stop() == 0
    kept = {row["seq"]: row for row in rows(tmp_path / "data")}
    codes = {"ok": 1, "reject": 2, "unsure": 3, "not_inspected": 4}
    assert {seq: codes[kept[seq]["verdict"]] for seq in seen} == {seq: r.verdict for seq, r in seen.items()}
    assert {kept[seq]["signalled"] for seq in seen} == {"sent"}
