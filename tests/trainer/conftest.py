"""Drawn parts, and one tiny run of ``fit`` that the slow tests share."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_qc_trainer.cli import main
from ring_parts import write_rings

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
    write_rings(folder, ("ok_front", "def_front"), 60, 64, (32, 32, 9, 255))
    (folder / "ok_front" / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="session")
def edge_qc_train() -> Callable[..., None]:
    """Runs ``edge-qc-train`` with arguments."""

    def run(*arguments: object) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["edge-qc-train", *map(str, arguments)])
            main()

    return run


@pytest.fixture(scope="session")
def run_folder(parts: Path, tmp_path_factory: pytest.TempPathFactory, edge_qc_train: Callable[..., None]) -> Path:
    """What ``fit`` writes for ``parts``."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "recipe.yaml").write_text(RECIPE)
    out = folder / "out"
    edge_qc_train("fit", parts, "--out", out, "--recipe", folder / "recipe.yaml")
    return out


@pytest.fixture
def run_command(
    edge_qc_train: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs ``edge-qc-train`` with arguments: its exit status, and what it said on standard error."""

    def run(*arguments: object) -> tuple[int, str]:
        try:
            edge_qc_train(*arguments)
        except SystemExit as stop:
            return int(stop.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run
