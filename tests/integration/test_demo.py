"""The demo as a person runs it: the real daemon, the embedded broker, the virtual PLC."""

import re
import sys
import textwrap
from pathlib import Path

import pytest

from edge_qc import demo
from edge_qc.demo import DemoOptions, run_demo

PARTS = 20
STAND_IN = """
import json, sys
from datetime import UTC, datetime
from edge_qc.sections import Broker
from edge_qc.signal.link import Link, Message

parts, twice, url = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
link = Link(Broker(url=url), "stand-in")
link.start()
assert link.wait_connected(10)
for seq in range(1, parts + 1):
    said = {"session": "s", "seq": seq, "part": str(seq), "verdict": "ok", "reason": "good", "label": "ok_front",
            "score": 0.0, "captured_at": datetime.now(UTC).isoformat()}
    for _ in range(2 if seq == twice else 1):
        link.publish(Message("edge-qc/line1/cam1/verdict", json.dumps(said).encode()))
link.stop(Message("edge-qc/line1/cam1/state", b'{"state":"offline"}'))
sys.exit(0)
"""


@pytest.mark.timeout(120)
def test_every_part_of_the_demo_gets_its_verdict(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_demo(DemoOptions(parts=PARTS, headless=True)) == 0, capfd.readouterr().err
    out = capfd.readouterr().out
    assert "\x1b" not in out
    numbers = {name: int(re.search(rf"\b{name}\W+(\d+)", out)[1])  # type: ignore[index]
               for name in ("parts", "ok", "rejected", "late", "doubled", "missing")}  # fmt: skip
    assert numbers.pop("ok") + numbers.pop("rejected") == PARTS
    assert numbers == {"parts": PARTS, "late": 0, "doubled": 0, "missing": 0}


def _stand_in(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: str) -> None:
    """Puts a script in the daemon's place: what the demo says of a daemon that fails needs one that does."""

    def command(_options: DemoOptions, folder: Path, url: str) -> list[str]:
        file = folder / "stand_in.py"
        file.write_text(textwrap.dedent(script))
        return [sys.executable, str(file), *arguments, url]

    monkeypatch.setattr(demo, "_command", command)


def test_a_sound_stand_in_passes(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    _stand_in(monkeypatch, STAND_IN, "5", "0")
    assert run_demo(DemoOptions(parts=5, headless=True)) == 0, capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"), [(("4", "0"), "heard of 4 parts, expected 5"), (("5", "3"), "1 messages came twice")]
)
def test_a_missing_or_doubled_verdict_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(demo, "SETTLE_TIMEOUT_S", 0.2)
    _stand_in(monkeypatch, STAND_IN, *arguments)
    assert run_demo(DemoOptions(parts=5, headless=True)) == 1
    assert said in capfd.readouterr().err


def test_a_daemon_that_dies_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SETTLE_TIMEOUT_S", 0.2)
    _stand_in(monkeypatch, "raise SystemExit('no model here')")
    assert run_demo(DemoOptions(parts=3, headless=True)) == 1
    err = capfd.readouterr().err
    assert "exit status 1" in err
    assert "no model here" in err


def test_a_daemon_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "START_TIMEOUT_S", 0.5)
    monkeypatch.setattr(demo, "SETTLE_TIMEOUT_S", 0.2)
    _stand_in(monkeypatch, "import signal; signal.sigwait([signal.SIGTERM])")
    assert run_demo(DemoOptions(parts=1, headless=True)) == 1
    assert "did not end in time" in capfd.readouterr().err
