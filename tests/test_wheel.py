"""The device's promise: the wheel with its base dependencies alone is enough, and brings no TensorFlow."""

import json
import os
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_qc.capture.simulated_part import draw_part

ROOT = Path(__file__).parents[1]
PARTS = 5
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
import edge_qc

names = [m.name for m in pkgutil.walk_packages(edge_qc.__path__, "edge_qc.") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
heavy = [m for m in ("tensorflow", "keras", "sklearn", "torch", "matplotlib") if importlib.util.find_spec(m)]
print(json.dumps({"file": edge_qc.__file__, "names": names, "heavy": heavy}))
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("EDGE_QC_", "PYTHON"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("edge_qc-*.whl")
    return built


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds what a device installs."""
    folder = tmp_path_factory.mktemp("device")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    run(folder / "venv/bin/python", "-m", "pip", "install", "-qq", wheel, cwd=folder)
    return folder / "venv" / "bin"


def test_the_wheel_carries_config_and_bundle(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    bundle = ("model.tflite", "model.json", "MODEL_CARD.md", "SHA256SUMS")
    assert {"edge_qc/config.yaml", *(f"edge_qc/models/casting/{name}" for name in bundle)} <= names


def test_every_module_imports_without_tensorflow(device: Path, tmp_path: Path) -> None:
    said = json.loads(run(device / "python", "-c", IMPORT_EVERYTHING, cwd=tmp_path).stdout)
    assert said["heavy"] == []
    assert "edge_qc.cli" in said["names"]
    assert Path(said["file"]).is_relative_to(device.parent), "the source tree was imported, not the wheel"


def test_the_daemon_judges_pictures_once(device: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(PARTS):
        cv2.imwrite(str(pictures / f"part-{i}.png"), draw_part(np.random.default_rng(i), defective=i % 2 == 1).pixels)

    options = ["--source", pictures, "--once", "--broker", "none:", "--data-dir", tmp_path / "data"]
    run(device / "edge-qc", *options, cwd=tmp_path)

    with sqlite3.connect(tmp_path / "data" / "inspections.db") as database:
        rows = database.execute("SELECT seq, part, verdict, reason FROM inspections ORDER BY seq").fetchall()
    database.close()
    assert [(seq, part) for seq, part, _, _ in rows] == [(i + 1, f"part-{i}.png") for i in range(PARTS)]
    assert {verdict for _, _, verdict, _ in rows} <= {"ok", "reject", "unsure"}, rows
