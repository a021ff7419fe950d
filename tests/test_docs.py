"""Every command that README and docs show works as it is shown."""

import re
import shlex
from pathlib import Path

import pytest

from edge_qc_trainer.cli import cli as trainer
from support import Mosquitto, draw_pictures, edge_qc

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = re.compile(r"^(?: {4})?((?:/opt/edge-qc/bin/)?edge-qc(?:-train)? .*?)(?:\s{2,}#.*)?$", re.MULTILINE)


def _commands(program: str) -> list[str]:
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        found += [command.removeprefix("/opt/edge-qc/bin/") for command in SHOWN.findall(text)]
    return sorted({command for command in found if command.split()[0] == program})


def test_there_are_commands_to_check() -> None:
    assert len(_commands("edge-qc")) >= 5
    assert len(_commands("edge-qc-train")) >= 4


@pytest.mark.parametrize("command", _commands("edge-qc"))
def test_a_device_command_runs(command: str, tmp_path: Path, broker: Mosquitto) -> None:
    draw_pictures(tmp_path / "pictures", 2)
    stand_ins = {  # what a reader has and a test has not
        "/dev/video0": "sim:?parts=2&rate=50",
        "mqtt://127.0.0.1:1883": broker.url,
        "runs/first/bundle": str(ROOT / "edge" / "edge_qc" / "models" / "casting"),
        "60": "1",
        "100": "1",
    }
    args = [stand_ins.get(word, word) for word in shlex.split(command)[1:]]
    if args[0] == "plc":
        args += [] if "--for" in args else ["--for", "1"]
    if args[0] == "history":
        edge_qc("--source", "pictures", "--once", "--broker", "none:", "--data-dir", "records", cwd=tmp_path)
    done = edge_qc(*args, cwd=tmp_path, EDGE_QC_BROKER=broker.url)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", _commands("edge-qc-train"))
def test_a_trainer_command_is_understood(command: str, tmp_path: Path) -> None:
    """Parsed, not run: a training takes minutes. tests/trainer runs each of them on small data."""
    name, *args = shlex.split(command)[1:]
    (tmp_path / "model.keras").touch()
    args = [str(tmp_path / "model.keras") if word.endswith(".keras") else word for word in args]
    context = trainer.commands[name].make_context(name, args)
    assert context.params


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_files_that_a_page_leads_to_are_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
