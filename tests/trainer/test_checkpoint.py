"""A stopped run of ``fit`` goes on where it was stopped, and ends as one that was never stopped."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_qc_trainer.batches import Sampler
from edge_qc_trainer.checkpoint import Checkpoint, Checkpoints, State
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.fit import Fitted, Validation, import_keras, train

Run = Callable[..., tuple[int, str]]

RECIPE = Recipe(size=32, epochs=3, steps_per_epoch=6, batch=4, layers=((8, 5, 2), (8, 3, 2)), dropout=0.5, average=0.9)
TINY = "{size: 64, epochs: 2, steps_per_epoch: 4, batch: 8, layers: [[8, 5, 2], [8, 3, 2]], unwrap: none}"
STATE = State([{"epoch": 1}], 1, variables=[np.arange(3.0)], best_weights=[np.ones((2, 2), np.float32)])


@pytest.fixture(autouse=True)
def _heed_ctrl_c() -> Iterator[None]:
    """A process that was started in the background has Ctrl-C switched off, and its children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def fit(checkpoint: Checkpoint | None, *, validated: bool = True, stop_at: int = 0) -> Fitted:
    rng = np.random.default_rng(0)
    pixels, targets = rng.integers(0, 256, (12, 32, 32), np.uint8), np.arange(12) % 2
    sampler = Sampler(pixels, targets, np.full(12, 1 / 12), np.array([False, True]), RECIPE, seed=0)
    validation = Validation(pixels[:4], targets[:4], np.full(4, 1 / 4)) if validated else None

    def stop(steps: int, _text: str) -> None:
        if steps == stop_at:
            raise KeyboardInterrupt

    return train(RECIPE, sampler, validation, seed=0, threads=1, report=stop, checkpoint=checkpoint)


@pytest.mark.parametrize("validated", [True, False], ids=["validated", "to the last epoch"])
def test_a_resumed_fit_ends_with_the_weights_of_one_that_was_never_stopped(tmp_path: Path, validated: bool) -> None:
    said: list[str] = []
    checkpoint = Checkpoint(tmp_path / "checkpoint.npz", "key", say=said.append)
    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint, validated=validated, stop_at=9)
    resumed, whole = fit(checkpoint, validated=validated), fit(None, validated=validated)
    assert said == ["model resumes at epoch 2 of 3; --restart begins anew"]
    assert resumed.best == whole.best
    assert [e.loss for e in resumed.epochs] == pytest.approx([e.loss for e in whole.epochs], rel=1e-4)
    for ours, theirs in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)


def test_an_epochs_figures_are_the_means_of_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    of_batches = iter(range(RECIPE.epochs * RECIPE.steps_per_epoch))

    def train_on_batch(*_: Any, **__: Any) -> dict[str, float]:
        return {"loss": 9.0, "loudest_loss": float(next(of_batches)), "loudest_accuracy": 0.5}

    monkeypatch.setattr(import_keras().Model, "train_on_batch", train_on_batch)
    epochs = fit(None, validated=False).epochs
    assert [(epoch.loss, epoch.accuracy) for epoch in epochs] == [(2.5, 0.5), (8.5, 0.5), (14.5, 0.5)]


def test_a_fit_that_is_done_is_not_run_again(tmp_path: Path) -> None:
    said: list[str] = []
    checkpoint = Checkpoint(tmp_path / "checkpoint.npz", "key", "fold 2", said.append)
    first = fit(checkpoint)
    again = fit(checkpoint, stop_at=1)
    assert said == ["fold 2 is fitted already; --restart begins anew"]
    assert again.epochs == first.epochs
    for ours, theirs in zip(again.model.get_weights(), first.model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


def of(folder: Path, said: list[str], **changed: Any) -> Checkpoint:
    of_run = {"recipe": "epochs: 3", "seed": 0, "weights": np.array([0.5, 0.5])} | changed
    checkpoint = Checkpoints(folder, said.append).of("fold 1", *of_run.values())
    assert checkpoint
    return checkpoint


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    of(tmp_path, []).save(STATE)
    read = of(tmp_path, []).load(epochs=3)
    assert read is not None
    assert (read.epochs, read.best, read.done) == (STATE.epochs, 1, False)
    assert np.array_equal(read.variables[0], STATE.variables[0])
    assert read.best_weights[0].dtype == np.float32


@pytest.mark.parametrize(
    "changed", [{"recipe": "epochs: 4"}, {"seed": 1}, {"weights": np.array([0.4, 0.6])}], ids=["recipe", "seed", "data"]
)
def test_a_checkpoint_of_another_run_is_left_aside_with_a_line(tmp_path: Path, changed: dict[str, Any]) -> None:
    said: list[str] = []
    of(tmp_path, said).save(STATE)
    assert of(tmp_path, said, **changed).load(epochs=3) is None
    assert said == [f"{tmp_path / 'checkpoint-fold-1.npz'} is of other data, options or versions: fold 1 begins anew"]


@pytest.mark.parametrize("kept", [0, 10, 300, -1], ids=["empty", "no zip", "half", "all but a byte"])
def test_a_damaged_checkpoint_is_left_aside_with_a_line(tmp_path: Path, kept: int) -> None:
    said: list[str] = []
    checkpoint = of(tmp_path, said)
    checkpoint.save(STATE)
    checkpoint.file.write_bytes(checkpoint.file.read_bytes()[:kept])
    assert checkpoint.load(epochs=3) is None
    assert said == [f"{checkpoint.file} is damaged: fold 1 begins anew"]


def test_a_write_that_fails_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = of(tmp_path, [])
    checkpoint.save(STATE)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(State(best=9))
    read = checkpoint.load(epochs=3)
    assert read is not None
    assert read.best == 1
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint-fold-1.npz"]


def test_removing_checkpoints_leaves_what_else_lies_there(tmp_path: Path) -> None:
    of(tmp_path / "out.partial", []).save(STATE)
    (tmp_path / "out.partial" / "thesis.txt").write_text("mine")
    Checkpoints(tmp_path / "out.partial").remove()
    assert [file.name for file in (tmp_path / "out.partial").iterdir()] == ["thesis.txt"]


def stop_after_saves(monkeypatch: pytest.MonkeyPatch, count: int, by: int) -> list[tuple[str, int]]:
    """Sends the signal once so many checkpoints are written; gives the networks and epochs that were saved."""
    saved: list[tuple[str, int]] = []
    save = Checkpoint.save

    def save_and_stop(self: Checkpoint, state: State) -> None:
        save(self, state)
        saved.append((self.name, len(state.epochs)))
        if len(saved) == count:
            signal.raise_signal(by)

    monkeypatch.setattr(Checkpoint, "save", save_and_stop)
    return saved


@pytest.mark.parametrize(("by", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_stopped_command_leaves_a_checkpoint_and_says_how_to_go_on(
    parts: Path, tmp_path: Path, run_command: Run, monkeypatch: pytest.MonkeyPatch, by: int, status: int
) -> None:
    (tmp_path / "r.yaml").write_text(TINY)
    out = tmp_path / "run" / "out"
    stop_after_saves(monkeypatch, 1, by)
    stopped, said = run_command("fit", parts, "--out", out, "--recipe", tmp_path / "r.yaml")
    assert stopped == status
    line = said.strip().splitlines()[-1]
    assert line == f"edge-qc-train: stopped; the same command goes on after the last whole epoch, kept in {out}.partial"
    assert [path.name for path in out.parent.iterdir()] == ["out.partial"]


def test_a_stopped_cross_validation_does_not_fit_a_fold_again(
    parts: Path, tmp_path: Path, run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.yaml").write_text(TINY)
    out = tmp_path / "run" / "out"
    command = ["fit", parts, "--out", out, "--recipe", tmp_path / "r.yaml", "--folds", 2]
    with monkeypatch.context() as patch:
        saved = stop_after_saves(patch, 3, signal.SIGINT)
        assert run_command(*command)[0] == 130
        assert saved == [("fold 1", 1), ("fold 1", 2), ("fold 2", 1)]
    saved = stop_after_saves(monkeypatch, 1, signal.SIGINT)
    _, said = run_command(*command)
    assert saved == [("fold 2", 2)]
    assert "fold 1 is fitted already" in said
    assert "fold 2 resumes at epoch 2 of 2" in said


def test_a_run_that_is_complete_leaves_no_checkpoint(run_folder: Path) -> None:
    assert not list(run_folder.parent.glob("*.partial"))


def test_restart_begins_anew(parts: Path, tmp_path: Path, run_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.yaml").write_text(TINY)
    command = ["fit", parts, "--out", tmp_path / "out", "--recipe", tmp_path / "r.yaml"]
    stop_after_saves(monkeypatch, 1, signal.SIGINT)
    run_command(*command)
    saved = stop_after_saves(monkeypatch, 1, signal.SIGINT)
    _, said = run_command(*command, "--restart")
    assert "resumes" not in said
    assert saved == [("model", 1)]
