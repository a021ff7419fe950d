"""Who may import whom, and how long a file may be (pyproject.toml, [tool.importlinter])."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = sorted(p for folder in ("edge", "trainer", "tests", "bench") for p in (ROOT / folder).rglob("*.py"))
MOST_LINES = 400
HEAVY = re.compile(r"^\s*(import|from)\s+(tensorflow|keras|sklearn|torch|matplotlib|edge_qc_trainer)\b", re.MULTILINE)


def test_the_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_stands_in_a_layer() -> None:
    """A module that the contract does not name would be free to import anything."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [c["layers"] for c in contracts if c["type"] == "layers"]
    named = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    package = ROOT / "edge" / "edge_qc"
    modules = {".".join(p.relative_to(package).with_suffix("").parts) for p in package.rglob("*.py")}
    assert {m for m in modules if not m.endswith(("__init__", "__main__"))} == named


def test_the_device_names_no_training_library() -> None:
    """The linter sees modules; this sees text, so an import hidden in a function or a template is found as well."""
    found = [str(p.relative_to(ROOT)) for p in OURS if p.is_relative_to(ROOT / "edge") and HEAVY.search(p.read_text())]
    assert found == []


@pytest.mark.parametrize("path", OURS, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) < MOST_LINES
