"""The watch folder: each file once, oldest first, only when it is whole, and none lost."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_qc.capture.base import EndOfSource, Shot
from edge_qc.capture.folder import FolderCamera
from edge_qc.errors import CaptureError
from edge_qc.sections import Source
from fakes import FakeLedger
from support import draw_pictures, wait_until

QUICK = {"settle_ms": 60, "rescan_s": 1}


@contextmanager
def _watching(
    folder: Path, ledger: FakeLedger | None = None, *, once: bool = False, **settings: Any
) -> Iterator[FolderCamera]:
    folder.mkdir(exist_ok=True)
    camera = FolderCamera(folder, Source(**QUICK | settings), ledger or FakeLedger(), once=once)
    camera.open()
    yield camera
    camera.close()


def _next(camera: FolderCamera, timeout_s: float = 5) -> Shot:
    found: list[Shot] = []
    wait_until(lambda: found.append(shot) or True if (shot := camera.read(0.05)) else False, timeout_s)
    return found[0].loaded()


def _name(shot: Shot) -> str:
    assert shot.stamp is not None
    return Path(shot.stamp.path).name


def test_a_file_is_taken_when_its_writer_closes_it_and_not_before(tmp_path: Path) -> None:
    (source,) = draw_pictures(tmp_path / "src", 1)
    data = source.read_bytes()
    with _watching(tmp_path / "in") as camera:
        with (tmp_path / "in" / "slow.png").open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            assert camera.read(0.4) is None  # far beyond settle_ms
            file.write(data[len(data) // 2 :])
        assert _next(camera).frame is not None


def test_a_file_that_is_half_written_at_the_start_is_waited_for(tmp_path: Path) -> None:
    (source,) = draw_pictures(tmp_path / "src", 1)
    data = source.read_bytes()
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "slow.png").open("wb") as file:
        file.write(data[:500])
        file.flush()
        with _watching(tmp_path / "in") as camera:
            assert camera.read(0.4) is None
            file.write(data[500:])
            file.close()
            assert _next(camera).frame is not None


def test_what_waits_at_the_start_comes_oldest_first(tmp_path: Path) -> None:
    paths = draw_pictures(tmp_path / "in", 4)
    for age, path in enumerate(reversed(paths)):
        os.utime(path, (1_600_000_000 + age, 1_600_000_000 + age))
    with _watching(tmp_path / "in") as camera:
        assert [_name(_next(camera)) for _ in paths] == [p.name for p in reversed(paths)]


def test_a_file_is_given_once_and_again_when_its_content_is_new(tmp_path: Path) -> None:
    one, two = draw_pictures(tmp_path / "src", 2)
    with _watching(tmp_path / "in") as camera:
        shutil.copyfile(one, tmp_path / "in" / "a.png")
        _next(camera)
        assert camera.read(0.3) is None
        shutil.copyfile(two, tmp_path / "in" / "a.png")
        assert _name(_next(camera)) == "a.png"


def test_a_file_with_a_record_is_not_given_again(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 1)
    with _watching(tmp_path / "in", FakeLedger(all_taken=True)) as camera:
        assert camera.read(0.3) is None


def test_folders_inside_are_watched_also_those_that_come_later(tmp_path: Path) -> None:
    (source,) = draw_pictures(tmp_path / "src", 1)
    with _watching(tmp_path / "in") as camera:
        (tmp_path / "in" / "2026-01-31").mkdir()
        assert camera.read(0.1) is None
        shutil.copyfile(source, tmp_path / "in" / "2026-01-31" / "deep.png")
        assert _name(_next(camera)) == "deep.png"


@pytest.mark.parametrize("name", [".hidden.png", "rejected-files/old.png", "inspected-files/old.png"])
def test_what_is_hidden_or_set_aside_is_left_alone(tmp_path: Path, name: str) -> None:
    (source,) = draw_pictures(tmp_path / "src", 1)
    target = tmp_path / "in" / name
    target.parent.mkdir(parents=True)
    shutil.copyfile(source, target)
    with _watching(tmp_path / "in") as camera:
        assert camera.read(0.3) is None


def test_a_picture_that_cannot_be_read_is_moved_aside_only_when_it_is_released(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.png").write_bytes(b"no picture")
    with _watching(tmp_path / "in") as camera:
        shot = _next(camera)
        assert shot.fault is not None
        assert (shot.fault.reason, shot.fault.name) == ("unreadable", "x.png")
        assert (tmp_path / "in" / "x.png").exists()
        assert shot.stamp is not None
        camera.release(shot.stamp)
    assert (tmp_path / "in" / "rejected-files" / "x.png").read_bytes() == b"no picture"
    assert "x.png" in (tmp_path / "in" / "rejected-files" / "reasons.txt").read_text()


def test_two_bad_files_of_one_name_are_both_kept(tmp_path: Path) -> None:
    with _watching(tmp_path / "in") as camera:
        for content in (b"one", b"three"):
            (tmp_path / "in" / "x.png").write_bytes(content)
            shot = _next(camera)
            assert shot.stamp is not None
            camera.release(shot.stamp)
    kept = {p.read_bytes() for p in (tmp_path / "in" / "rejected-files").glob("x*.png")}
    assert kept == {b"one", b"three"}


def test_inspected_files_are_moved_where_the_config_says_so(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 1)
    with _watching(tmp_path / "in", after="move") as camera:
        shot = _next(camera)
        assert shot.stamp is not None
        camera.release(shot.stamp)
    assert [p.name for p in (tmp_path / "in" / "inspected-files").iterdir()] == ["part-0000.png"]


def test_a_move_that_a_crash_cut_off_is_made_up_for(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 1)
    with _watching(tmp_path / "in", FakeLedger(all_taken=True), after="move"):
        assert (tmp_path / "in" / "inspected-files" / "part-0000.png").exists()


def test_a_pipe_or_a_dangling_link_does_not_stop_the_line(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 1)
    os.mkfifo(tmp_path / "in" / "pipe.png")
    (tmp_path / "in" / "link.png").symlink_to("/nowhere.png")
    with _watching(tmp_path / "in", once=True) as camera:
        assert _name(_next(camera)) == "part-0000.png"
        with pytest.raises(EndOfSource):
            camera.read(0.1)


def test_files_that_arrive_in_a_burst_all_come(tmp_path: Path) -> None:
    (source,) = draw_pictures(tmp_path / "src", 1)
    with _watching(tmp_path / "in") as camera:

        def copy() -> None:
            for i in range(60):
                shutil.copyfile(source, tmp_path / "in" / f"{i:03}.png")

        writer = threading.Thread(target=copy)
        writer.start()
        names = {_name(_next(camera)) for _ in range(60)}
        writer.join()
    assert len(names) == 60


def test_a_file_that_the_kernel_did_not_tell_of_is_found_by_looking(tmp_path: Path) -> None:
    (source,) = draw_pictures(tmp_path / "src", 1)
    with _watching(tmp_path / "in") as camera:
        camera._watches.clear()  # as on a network share
        shutil.copyfile(source, tmp_path / "in" / "a.png")
        assert _name(_next(camera)) == "a.png"


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no watch folder"):
        FolderCamera(tmp_path / "none", Source(), FakeLedger()).open()


def test_a_folder_that_goes_away_is_told(tmp_path: Path) -> None:
    with _watching(tmp_path / "in") as camera:
        (tmp_path / "in").rmdir()
        with pytest.raises(CaptureError, match="is gone"):
            _next(camera)


def test_a_copy_that_gets_its_time_after_it_was_closed_is_one_part(tmp_path: Path) -> None:
    sources = draw_pictures(tmp_path / "src", 5)
    with _watching(tmp_path / "in") as camera:
        for source in sources:
            shutil.copy2(source, tmp_path / "in" / source.name)
        assert {_name(_next(camera)) for _ in sources} == {s.name for s in sources}
        camera._rescan_at_s = 0.0
        assert camera.read(0.5) is None


def test_a_touched_file_is_no_new_part(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 1)
    with _watching(tmp_path / "in") as camera:
        _next(camera)
        (tmp_path / "in" / "part-0000.png").touch()
        camera._rescan_at_s = 0.0
        assert camera.read(0.5) is None


def test_a_frozen_camera_that_writes_the_same_picture_again_gives_a_part_each_time(tmp_path: Path) -> None:
    (source,) = draw_pictures(tmp_path / "src", 1)
    with _watching(tmp_path / "in") as camera:
        for _ in range(2):
            (tmp_path / "in" / "snap.png").write_bytes(source.read_bytes())
            assert _name(_next(camera)) == "snap.png"


def test_a_file_known_from_an_earlier_run_by_its_content_is_not_given_again(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 1)
    with _watching(tmp_path / "in") as camera:
        shot = _next(camera)
    assert shot.stamp is not None
    (tmp_path / "in" / "part-0000.png").touch()
    with _watching(tmp_path / "in", FakeLedger(shot.stamp)) as camera:
        assert camera.read(0.5) is None


def test_a_picture_that_replaced_another_before_its_move_is_not_moved_but_judged(tmp_path: Path) -> None:
    one, two = draw_pictures(tmp_path / "src", 2)
    with _watching(tmp_path / "in", after="move") as camera:
        shutil.copyfile(one, tmp_path / "in" / "snap.png")
        first = _next(camera)
        shutil.copyfile(two, tmp_path / "in" / "snap.png")
        assert first.stamp is not None
        camera.release(first.stamp)
        assert _name(_next(camera)) == "snap.png"


def test_the_stations_own_data_is_not_looked_into(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in" / "data" / "pictures", 1)
    draw_pictures(tmp_path / "in", 1)
    camera = FolderCamera(tmp_path / "in", Source(), FakeLedger(), ignore=tmp_path / "in" / "data", once=True)
    camera.open()
    assert _name(_next(camera)) == "part-0000.png"
    with pytest.raises(EndOfSource):
        camera.read(0.1)
    camera.close()


def test_a_full_folder_is_looked_through_in_slices(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(3000):
        (tmp_path / "in" / f"{i}.png").touch()
    with _watching(tmp_path / "in", FakeLedger(all_taken=True)) as camera:
        camera._known.clear()
        camera._rescan_at_s = 0.0
        looks = 0
        while camera._rescan_at_s == 0.0:
            camera.read(0)
            camera._wait(0.001)
            looks += 1
    assert looks > 1
