"""`edge-qc check` of the servers that a PLC polls: is the extra there, can the port be bound?"""

import socket
import sys
from collections.abc import Iterator

import pytest

from edge_qc.check import Finding, check_all
from edge_qc.config import Config
from support import free_port

SECTIONS = ("modbus", "opcua")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def _found(section: str, **settings: object) -> Finding | None:
    config = Config.model_validate({"broker": {"url": "none:"}, section: {"enabled": True, **settings}})
    return next((finding for finding in check_all(config) if finding.name == section), None)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_server_that_is_off_is_not_looked_at(section: str) -> None:
    assert _found(section, enabled=False) is None


@pytest.mark.parametrize("section", SECTIONS)
def test_an_extra_that_is_there_and_a_port_that_is_free_are_well(section: str) -> None:
    port = free_port()
    for _ in range(2):  # looking leaves the port free
        finding = _found(section, port=port)
        assert finding == Finding(section, ok=True, text=f"extra installed, 127.0.0.1 port {port} is free")


@pytest.mark.parametrize("section", SECTIONS)
def test_a_port_that_is_taken_is_a_fault_with_its_remedy(section: str, taken_port: int) -> None:
    finding = _found(section, port=taken_port)
    assert finding is not None
    assert not finding.ok
    assert "Address already in use" in finding.text
    assert f"set {section}.host and {section}.port" in finding.text


def test_an_address_of_another_machine_is_a_fault() -> None:
    finding = _found("modbus", host="192.0.2.1")  # TEST-NET-1, RFC 5737: nobody's
    assert finding is not None
    assert "Cannot assign requested address" in finding.text


@pytest.mark.parametrize(("section", "module"), [("modbus", "pymodbus.server"), ("opcua", "asyncua")])
def test_an_extra_that_is_missing_is_a_fault_with_its_remedy(
    section: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as Python itself marks what cannot be imported
    finding = _found(section, port=free_port())
    assert finding is not None
    assert not finding.ok
    assert f"pip install 'edge-qc[{section}]'" in finding.text


def test_sparkplug_without_its_extra_is_a_fault_of_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.protobuf.descriptor_pb2", None)
    config = Config.model_validate({"broker": {"url": "mqtt://127.0.0.1:1", "payload": "sparkplug_b"}})
    finding = next(finding for finding in check_all(config) if finding.name == "broker")
    assert "pip install 'edge-qc[sparkplug]'" in finding.text
