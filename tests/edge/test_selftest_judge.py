"""What the selftest measures with: its judge, and the proxy that cuts."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from edge_qc.domain import Outcome
from edge_qc.selftest import judge
from edge_qc.selftest.judge import Figure, Row
from edge_qc.selftest.proxy import Proxy
from edge_qc.virtual_plc_logic import Action
from support import wait_until

SESSION = "9f3a21c4"


def _record(seq: int, verdict: str = "ok", **other: Any) -> dict[str, Any]:
    said = {"session": SESSION, "seq": seq, "part": str(seq), "verdict": verdict, "reason": "good"}
    return {**said, "captured_at": f"2026-01-31T08:15:{seq:02}.000Z", "signalled": "sent", **other}


def _action(seq: int, *, age_ms: float = 9.0) -> Action:
    return Action(SESSION, seq, str(seq), Outcome.OK, "good", "ok_front", 0.01, age_ms, "passed")


def _short(figures: list[Figure]) -> list[str]:
    return [figure.what for figure in figures if not figure.holds]


RECORDS = [_record(seq) for seq in range(1, 6)]


@pytest.mark.parametrize(
    ("forwarded", "short"),
    [
        pytest.param(RECORDS, [], id="all"),
        pytest.param([*RECORDS[:3], *RECORDS[1:]], [], id="some again, from an earlier one on"),
        pytest.param(RECORDS[:-1], ["lost in result"], id="one lost"),
        pytest.param([*RECORDS[1:], RECORDS[0]], ["out of order"], id="the first comes last"),
        pytest.param([*RECORDS[:4], _record(5, "reject")], ["unlike their record"], id="another verdict"),
    ],
)
def test_every_record_is_forwarded_as_it_is_and_in_order(forwarded: list[judge.Said], short: list[str]) -> None:
    assert _short(judge.results(RECORDS, forwarded)) == short


def test_results_sent_again_are_counted_and_not_held_against_the_station() -> None:
    (again,) = [f for f in judge.results(RECORDS, [*RECORDS, *RECORDS[:2]]) if f.what == "results sent again"]
    assert (again.measured, again.holds, again.bound) == (2, True, "")


@pytest.mark.parametrize(
    ("actions", "short"),
    [
        pytest.param([_action(1), _action(2)], [], id="each once and in time"),
        pytest.param([_action(1), _action(1)], ["acted on twice"], id="twice"),
        pytest.param([replace(_action(1), part="7")], ["on the wrong part"], id="another part"),
        pytest.param([replace(_action(1), verdict=Outcome.REJECT)], ["on the wrong part"], id="another verdict"),
        pytest.param([_action(1, age_ms=1001)], ["oldest part acted on"], id="late"),
        pytest.param([_action(1), replace(_action(2, age_ms=5000), did="late")], [], id="late, but not acted on"),
        pytest.param([], ["parts acted on"], id="nothing acted on says nothing"),
    ],
)
def test_the_plc_acts_once_in_time_and_on_the_right_part(actions: list[Action], short: list[str]) -> None:
    assert _short(judge.actuations(RECORDS, actions, 1000)) == short


def test_a_number_that_neither_disk_nor_plc_knows_is_a_gap() -> None:
    recorded = [("a", 1), ("a", 2), ("a", 5), ("b", 1)]
    gap, seen = judge.unaccounted(recorded, [("a", 3), ("b", 2)])
    assert (gap.measured, gap.holds, seen.measured) == (1, False, 2)
    assert judge.gaps([_record(1), _record(3)]) == 1


def test_a_row_is_ok_only_if_something_was_judged_and_holds() -> None:
    good, bad, told = judge.none_of("x", 0), judge.none_of("x", 1), Figure("x", 3)
    assert Row("r", "f", (good, told)).status == "ok"
    assert Row("r", "f", (good, bad)).status == "short"
    assert Row("r", "f", (told,)).status == "short"
    assert Row("r", "f", (good,), broke="the daemon does not start").status == "short"
    assert str(Row("r", "f", skipped="no means")) == "skipped r: no means"
    assert str(Row("r", "f", (good, bad))).startswith("SHORT   r: x 1 (NOT none)")


def test_the_99th_percentile_and_the_longest_gap() -> None:
    assert judge.p99(range(1, 101)) == 100
    assert judge.p99(range(1, 1001)) == 991
    assert judge.p99([]) == 0
    assert judge.longest_gap_s([0.0, 0.2, 1.5, 1.6]) == 1.3
    assert judge.longest_gap_s([1.0]) == 0


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(100):
            self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _is_cut(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_proxy_forwards_until_it_cuts(echo: int) -> None:
    with Proxy("127.0.0.1", echo) as proxy:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
                client.sendall(b"a part")
                assert client.recv(100) == b"a part"
                proxy.cut()
                assert _is_cut(client)
        assert proxy.cuts == 2


def test_the_proxy_cuts_again_and_again_until_told_otherwise(echo: int) -> None:
    with Proxy("127.0.0.1", echo) as proxy:
        proxy.cut_every(0.05)
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
                assert _is_cut(client)
        proxy.cut_every(None)
        wait_until(lambda: proxy.cuts >= 3)
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(1)


def test_the_proxy_cuts_at_once_where_nobody_listens() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and deaf
        with (
            Proxy("127.0.0.1", nobody.getsockname()[1]) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), 5) as client,
        ):
            assert _is_cut(client)
