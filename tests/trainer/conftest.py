"""Drawn parts, and one tiny run of ``fit`` that the slow tests share."""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from edge_qc_trainer.cli import main
from ring_parts import draw_ring, write

RECIPE = """
size: 64
epochs: 2
steps_per_epoch: 25
batch: 8
layers: [[16, 5, 2], [16, 3, 2], [32, 3, 2]]
dropout: 0.0
average: 0.9
unwrap: none
augment: {draw_share: 0}
"""


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 good parts and 30 whose bore is half closed, 64 x 64, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("parts")
    for seed in range(60):
        pixels = draw_ring(seed, 64)
        if seed % 2:
            cv2.circle(pixels, (32, 32), 9, 255, -1)
        write(folder / ("def_front" if seed % 2 else "ok_front") / f"{seed:03d}.png", pixels)
    (folder / "ok_front" / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="session")
def run_folder(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``fit`` writes for ``parts``."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "recipe.yaml").write_text(RECIPE)
    out = folder / "out"
    argv = sys.argv
    sys.argv = ["edge-qc-train", "fit", str(parts), "--out", str(out), "--recipe", str(folder / "recipe.yaml")]
    try:
        main()
    finally:
        sys.argv = argv
    return out


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs ``edge-qc-train`` with arguments: its exit status, and what it said on standard error."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["edge-qc-train", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run
