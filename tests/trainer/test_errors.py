"""Bad data and options: what, expected, got, remedy; exit status 2; nothing written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_qc.errors import ConfigError
from edge_qc_trainer import dataset
from edge_qc_trainer.config import Recipe, load_recipe
from edge_qc_trainer.dataset import choose_ok_labels
from edge_qc_trainer.errors import DataError, SpaceError
from edge_qc_trainer.pipeline import whole_or_absent
from ring_parts import draw_ring, write

Run = Callable[..., tuple[int, str]]


def fill(folder: Path, *labels: str) -> Path:
    for label in labels:
        write(folder / label / "a.png", draw_ring(len(label), 64))
    return folder


def refused(run_command: Run, tmp_path: Path, *arguments: object) -> str:
    status, said = run_command("fit", *arguments, "--out", tmp_path / "out")
    assert status == 2
    assert not (tmp_path / "out").exists()
    return said


def test_no_folder(run_command: Run, tmp_path: Path) -> None:
    assert "no data at" in refused(run_command, tmp_path, tmp_path / "none")


def test_no_class_folders(run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert "has no class folders" in refused(run_command, tmp_path, tmp_path / "data")


def test_empty_class_folder(run_command: Run, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", "ok")
    (data / "bad").mkdir()
    assert "bad is empty" in refused(run_command, tmp_path, data)


def test_one_class_only(run_command: Run, tmp_path: Path) -> None:
    assert "--ok-label" in refused(run_command, tmp_path, fill(tmp_path / "data", "ok"))


def test_too_few_parts(run_command: Run, tmp_path: Path) -> None:
    assert "too few different parts" in refused(run_command, tmp_path, fill(tmp_path / "data", "ok", "bad"))


def test_labels_that_differ_between_train_and_test(run_command: Run, tmp_path: Path) -> None:
    train, test = fill(tmp_path / "a", "ok", "bad"), fill(tmp_path / "b", "ok", "worse")
    said = refused(run_command, tmp_path, train, "--test", test)
    assert "expected bad, ok; got ok, worse" in said


def test_train_and_test_folders_are_told_apart(tmp_path: Path) -> None:
    fill(tmp_path / "train", "ok", "bad")
    fill(tmp_path / "test", "ok", "bad")
    assert dataset.train_and_test(tmp_path) == (tmp_path / "train", tmp_path / "test")


def test_backend_that_is_not_installed(run_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys  # noqa: PLC0415

    # None in sys.modules is what Python itself takes for a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "keras", None)
    assert "the training backend cannot be loaded" in refused(run_command, tmp_path, fill(tmp_path / "d", "ok", "bad"))


def test_unknown_recipe_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("epoch: 3\nbatch: 1\n")
    with pytest.raises(ConfigError, match=r"(?s)batch.*epoch"):
        load_recipe(tmp_path / "recipe.yaml")


def test_option_out_of_bounds_is_named() -> None:
    with pytest.raises(ConfigError, match="size"):
        Recipe().with_options(size=8)


@pytest.mark.parametrize("label", ["ok_front", "OK", "Good", "passed"])
def test_good_labels_are_known_by_their_names(label: str) -> None:
    assert choose_ok_labels((label, "scratch"), ()) == (label,)


@pytest.mark.parametrize("labels", [("ok_a", "ok_b"), ("scratch", "hole")])
def test_good_labels_that_are_not_clear_are_asked_for(labels: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="--ok-label"):
        choose_ok_labels(labels, ())


def test_given_good_labels_win_over_names() -> None:
    assert choose_ok_labels(("ok_ish", "fine"), ("fine",)) == ("fine",)


def test_a_truncated_picture_is_skipped_with_a_reason(tmp_path: Path) -> None:
    data = fill(tmp_path, "ok", "bad")
    picture = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    write(data / "ok" / "b.jpg", picture)
    (data / "ok" / "b.jpg").write_bytes((data / "ok" / "b.jpg").read_bytes()[:1000])
    loaded = dataset.load(dataset.find_files(data), 64, "letterbox")
    assert [file.path.name for file in loaded.unreadable] == ["b.jpg"]


def test_fingerprint_does_not_depend_on_where_the_pictures_lie(tmp_path: Path) -> None:
    here, there = (fill(tmp_path / name, "ok", "bad") for name in "ab")
    first, second = (dataset.load(dataset.find_files(folder), 64, "letterbox") for folder in (here, there))
    assert first.fingerprint == second.fingerprint


def test_a_full_disk_is_a_message_and_leaves_nothing(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        with whole_or_absent(tmp_path / "out") as draft:
            (draft / "metrics.json").write_text("{}")
            Path("/dev/full").write_text("x" * 100_000)  # the kernel's own error

    with pytest.raises(SpaceError, match=r"no space left; expected room .*; got No space left on device.*TMPDIR"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []


def test_another_fault_of_the_disk_is_not_called_a_full_one(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), whole_or_absent(tmp_path / "out"):
        raise PermissionError
    assert list(tmp_path.iterdir()) == []


def test_an_audit_that_is_none_is_refused_before_the_work(run_command: Run, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", "ok", "bad")
    (tmp_path / "audit.json").write_text("[]")
    assert "is no audit" in refused(run_command, tmp_path, data, "--audit", tmp_path / "audit.json")


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_or_absent(tmp_path / "out") as draft:
            (draft / "metrics.json").write_text("{}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="in use"), whole_or_absent(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(("option", "value"), [("--name", "My Part"), ("--model-version", "one")])
def test_a_name_that_no_card_takes_is_refused_before_the_work(
    run_command: Run, tmp_path: Path, option: str, value: str
) -> None:
    said = refused(run_command, tmp_path, fill(tmp_path / "data", "ok", "bad"), option, value)
    assert f"{option}; expected" in said


def test_folds_beside_a_test_set(run_command: Run, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", "ok", "bad")
    assert "exclude each other" in refused(run_command, tmp_path, data, "--folds", "3", "--test", data)


def test_more_folds_than_parts_of_a_class(run_command: Run, tmp_path: Path) -> None:
    said = refused(run_command, tmp_path, fill(tmp_path / "data", "ok", "bad"), "--folds", "20")
    assert "too few different parts for so many folds" in said
