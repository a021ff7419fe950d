"""Bad data and options: what, expected, got, remedy; exit status 2; nothing written."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_qc.errors import ConfigError
from edge_qc_trainer import dataset
from edge_qc_trainer.config import Recipe, load_recipe
from edge_qc_trainer.dataset import choose_ok_labels
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.output import explained, write_whole
from edge_qc_trainer.pipeline import whole_or_absent
from ring_parts import draw_ring, write

Run = Callable[..., tuple[int, str]]


def fill(folder: Path, *labels: str) -> Path:
    for label in labels:
        write(folder / label / "a.png", draw_ring(len(label), 64))
    return folder


def finished_run(folder: Path) -> Path:
    (folder / "bundle").mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
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
    said = refused(run_command, tmp_path, fill(tmp_path / "data", "ok"))
    assert "nothing to tell apart; expected pictures of two classes or more; got one class, ok" in said


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


def test_a_full_disk_leaves_nothing_and_the_run_that_stood_there(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "out")

    def fill_the_disk() -> None:
        with whole_or_absent(run) as draft:
            (draft / "metrics.json").write_text("{}")
            Path("/dev/full").write_text("x" * 100_000)  # the kernel's own error

    with pytest.raises(OSError, match="No space left") as found:
        fill_the_disk()
    assert re.search(r"no space left; expected room .*; got No space left.*TMPDIR", str(explained(found.value)))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (run / "metrics.json").read_text() == "{}"


def test_another_fault_of_the_disk_is_not_called_a_full_one(tmp_path: Path) -> None:
    with pytest.raises(PermissionError) as found, whole_or_absent(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))
    assert "cannot be read or written" in str(explained(found.value))
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


def test_a_run_beside_which_other_things_lie_is_not_replaced(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "project")
    (run / "data").mkdir()
    with pytest.raises(DataError, match="in use"), whole_or_absent(run):
        pass
    assert (run / "data").is_dir()


def test_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "out")
    with whole_or_absent(run) as draft:
        (draft / "metrics.json").write_text("new")
    assert [path.name for path in run.iterdir()] == ["metrics.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_the_present_one_can_take_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with whole_or_absent(Path()) as draft:
        (draft / "metrics.json").write_text("{}")
    assert (tmp_path / "here" / "metrics.json").exists()


def test_convert_does_not_replace_what_is_no_bundle(run_command: Run, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", "ok", "bad")
    (tmp_path / "model.keras").write_bytes(b"")
    status, said = run_command("convert", tmp_path / "model.keras", "--calibrate", data, "--out", data)
    assert status == 2
    assert "is in use; expected a new folder, an empty one, or a bundle" in said
    assert sorted(path.name for path in data.iterdir()) == ["bad", "ok"]


def test_pictures_that_the_device_would_refuse_are_not_trained_on(run_command: Run, tmp_path: Path) -> None:
    for label in ("ok", "bad"):
        for seed in range(4):
            write(tmp_path / "data" / label / f"{seed}.png", draw_ring(seed + 4 * len(label), 64) // 16)
    said = refused(run_command, tmp_path, tmp_path / "data", "--no-groups")
    assert "the device would refuse every picture of bad" in said
    assert "got dark" in said


def test_a_class_folder_without_a_readable_name(run_command: Run, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", "ok", "bad")
    (data / "bad").rename(data / os.fsdecode(b"b\xfcd"))
    assert "has no readable name" in refused(run_command, tmp_path, data)


def test_a_link_that_leads_nowhere_is_told_of(tmp_path: Path) -> None:
    data = fill(tmp_path, "ok", "bad")
    (data / "ok" / "b.png").symlink_to(tmp_path / "gone.png")
    loaded = dataset.load(dataset.find_files(data), 64, "letterbox")
    assert [file.path.name for file in loaded.unreadable] == ["b.png"]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", "figures")
    assert os.read(reader, 99) == b"figures"
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_to_a_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "figures.json").symlink_to(tmp_path / "kept.json")
    write_whole(tmp_path / "figures.json", "new")
    assert (tmp_path / "figures.json").is_symlink()
    assert (tmp_path / "kept.json").read_text() == "new"


def test_a_page_can_name_a_file_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    write_whole(tmp_path / "page.html", os.fsdecode(b"gut-\xfc.png"))
    assert (tmp_path / "page.html").read_text("utf-8") == "gut-\\udcfc.png"


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_what_is_no_number_is_refused(run_command: Run, tmp_path: Path, value: str) -> None:
    data = fill(tmp_path / "data", "ok", "bad")
    assert "is not a number" in refused(run_command, tmp_path, data, "--cost-escape", value, "--cost-overkill", "1")


def test_a_file_that_cannot_be_written_is_told_of_before_the_work(run_command: Run, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", "ok", "bad")
    status, said = run_command("evaluate", data, "--json", tmp_path / "none" / "figures.json")
    assert status == 2
    assert "expected a folder" in said


def test_a_licence_note_may_be_long(run_command: Run, tmp_path: Path) -> None:
    said = refused(run_command, tmp_path, fill(tmp_path / "d", "ok", "bad"), "--licence-note", "x" * 3000)
    assert "too few different parts" in said


@pytest.mark.parametrize(("option", "value"), [("--name", "My Part"), ("--model-version", "one")])
def test_a_name_that_no_card_takes_is_refused_before_the_work(
    run_command: Run, tmp_path: Path, option: str, value: str
) -> None:
    said = refused(run_command, tmp_path, fill(tmp_path / "data", "ok", "bad"), option, value)
    assert f"{option}; expected" in said


def test_folds_beside_a_test_set(run_command: Run, tmp_path: Path) -> None:
    data = fill(tmp_path / "data", "ok", "bad")
    assert "exclude each other" in refused(run_command, tmp_path, data, "--folds", "3", "--test", data)


def test_folds_of_data_that_bring_their_own_test_pictures(run_command: Run, tmp_path: Path) -> None:
    for name in ("train", "test"):
        fill(tmp_path / "data" / name, "ok", "bad")
    assert "exclude each other" in refused(run_command, tmp_path, tmp_path / "data", "--folds", "3")


def test_more_folds_than_parts_of_a_class(run_command: Run, tmp_path: Path) -> None:
    said = refused(run_command, tmp_path, fill(tmp_path / "data", "ok", "bad"), "--folds", "20")
    assert "too few different parts for so many folds" in said
