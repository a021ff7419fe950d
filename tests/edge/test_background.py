"""A server in a thread: what does not start is said, what dies later is noticed."""

import sys
import threading
from collections.abc import Callable
from functools import partial

import pytest

from edge_qc.errors import SignalError
from edge_qc.sections import Modbus
from edge_qc.signal.background import Inbox, ServerThread
from edge_qc.signal.modbus import ModbusSignal
from support import free_port


async def _serve(inbox: Inbox, ready: Callable[[], None]) -> None:
    ready()
    while (job := await inbox.get()) is not None:
        await job()


def test_jobs_are_done_in_order_and_before_the_end() -> None:
    server = ServerThread("modbus", "127.0.0.1:1", _serve)
    done: list[int] = []

    async def job(number: int) -> None:
        done.append(number)

    assert not server.post(partial(job, 0)), "nobody is there yet"
    server.start()
    assert {server.post(partial(job, number)) for number in range(100)} == {True}
    server.stop()
    server.stop()
    assert done == list(range(100))
    assert not server.post(partial(job, 0))


def test_a_library_that_is_missing_is_said_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymodbus.server", None)
    signal = ModbusSignal(Modbus(port=free_port()), "abcd1234", frozenset())
    with pytest.raises(SignalError, match=r"edge-qc\[modbus\]"):
        signal.start()
    signal.stop()


def test_a_server_that_dies_is_a_thread_that_died(monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[str] = []
    gone = threading.Event()

    def note(args: threading.ExceptHookArgs) -> None:
        died.append(f"{args.thread.name if args.thread else ''}: {args.exc_value}")
        gone.set()

    monkeypatch.setattr(threading, "excepthook", note)

    async def fail() -> None:
        raise ValueError("a fault in our own")

    server = ServerThread("modbus", "127.0.0.1:1", _serve)
    server.start()
    server.post(fail)
    assert gone.wait(5)
    assert died == ["modbus: a fault in our own"]
    server.stop()
