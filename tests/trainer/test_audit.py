"""The audit: every fault that is planted in a clean set is found, and in a clean set none."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_qc.domain import Pixels
from edge_qc.unwrap import find_opening
from edge_qc_trainer import audit_page
from edge_qc_trainer.audit import Audit, audit
from edge_qc_trainer.audit_checks import Finding
from edge_qc_trainer.cli import main
from edge_qc_trainer.confounds import background
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.groups import group_near_copies
from ring_parts import draw_ring, turned, write


def draw_set(folder: Path, seeds: range, change: Callable[[Pixels, bool], Pixels] = lambda pixels, _: pixels) -> Path:
    """Parts of two classes in turn, ``ok`` and ``defect``, every one another; ``change`` is told which is defective."""
    for seed in seeds:
        write(folder / ("defect" if seed % 2 else "ok") / f"{seed:03d}.png", change(draw_ring(seed), seed % 2 == 1))
    return folder


def relit(pixels: Pixels, gamma: float, gain: float) -> Pixels:
    return np.asarray(np.clip(np.rint((pixels / 255) ** gamma * 255 * gain), 0, 255), np.uint8)


def finding(found: Audit, check: str) -> Finding:
    (one,) = [finding for finding in found.findings if finding.check.startswith(check)]
    return one


def named(found: Finding) -> set[str]:
    return {path.name for item in found.items for path in item.paths}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return draw_set(tmp_path / "data", range(12))


def test_a_clean_set_has_no_serious_finding(data: Path) -> None:
    found = audit(data)
    assert found.count("serious") == 0
    assert len(np.unique(found.evidence.groups)) == 12


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"", "empty"), (b"hello", "no picture"), (cv2.imencode(".jpg", draw_ring(1))[1].tobytes()[:4000], "truncated")],
    ids=["empty", "no picture", "truncated"],
)
def test_a_file_that_is_no_whole_picture_is_named_with_its_kind(data: Path, content: bytes, kind: str) -> None:
    (data / "ok" / "bad.jpg").write_bytes(content)
    broken = finding(audit(data), "broken files")
    assert (broken.level, named(broken)) == ("note", {"bad.jpg"})
    assert broken.items[0].caption.startswith(kind)


def test_a_picture_of_another_size_is_named(data: Path) -> None:
    write(data / "ok" / "wide.png", cv2.resize(draw_ring(50), (640, 480)))
    odd = finding(audit(data), "odd sizes")
    assert named(odd) == {"wide.png"}
    assert "640 x 480" in odd.items[0].caption


@pytest.mark.parametrize(("level", "reason"), [(0, "dark"), (255, "bright"), (128, "flat")])
def test_a_blank_picture_is_named_and_joins_no_part(data: Path, level: int, reason: str) -> None:
    write(data / "ok" / "blank.png", np.full((300, 300), level, np.uint8))
    write(data / "defect" / "blank too.png", np.full((300, 300), level + (1 if level < 255 else -1), np.uint8))
    found = audit(data)
    blank = finding(found, "blank pictures")
    assert named(blank) == {"blank.png", "blank too.png"}
    assert all(item.caption.startswith(reason) for item in blank.items)
    assert finding(found, "contradicting labels").level == "clean"


def test_the_same_pixels_are_duplicates_whatever_the_file_format(data: Path) -> None:
    write(data / "ok" / "again.bmp", draw_ring(0))
    duplicates = finding(audit(data), "exact duplicates")
    assert duplicates.count == 1
    assert named(duplicates) == {"000.png", "again.bmp"}


def test_a_copy_under_another_label_is_a_contradiction(data: Path) -> None:
    write(data / "defect" / "wrong.png", relit(turned(draw_ring(0), 77, mirrored=True), 0.7, 0.9))
    wrong = finding(audit(data), "contradicting labels")
    assert (wrong.level, named(wrong)) == ("serious", {"000.png", "wrong.png"})


def test_train_and_test_are_held_against_each_other(tmp_path: Path) -> None:
    draw_set(tmp_path / "train", range(12))
    draw_set(tmp_path / "test", range(20, 24))
    assert finding(audit(tmp_path), "leakage train – test").level == "clean"
    write(tmp_path / "test" / "ok" / "turned.png", turned(draw_ring(2), 200))
    leaked = finding(audit(tmp_path), "leakage train – test")
    assert (leaked.level, leaked.count, named(leaked)) == ("serious", 1, {"002.png", "turned.png"})


def test_another_set_is_held_against_the_data(data: Path, tmp_path: Path) -> None:
    other = draw_set(tmp_path / "other", range(30, 34))
    write(other / "ok" / "known.png", draw_ring(4))
    leaked = finding(audit(data, other), "leakage data – other")
    assert (leaked.level, leaked.count, named(leaked)) == ("serious", 1, {"004.png", "known.png"})


def test_what_is_only_held_against_the_data_is_not_asked_what_gives_its_class_away(data: Path, tmp_path: Path) -> None:
    other = draw_set(tmp_path / "other", range(30, 42), lambda pixels, bad: relit(pixels, 1, 0.6 if bad else 1))
    assert finding(audit(data, other), "brightness alone").level == "clean"
    assert finding(audit(other), "brightness alone").level == "serious"


def darker_table(pixels: Pixels, bad: bool) -> Pixels:
    """The corners alone tell the class: the part, which fills the picture to 0.47 of its side, is as it was."""
    table = pixels.copy()
    table[:60, :60] = 100 if bad else 150
    return table


def test_a_background_that_goes_with_the_class_is_found(tmp_path: Path) -> None:
    found = audit(draw_set(tmp_path / "data", range(24), darker_table))
    table = finding(found, "background alone")
    assert table.level == "serious"
    confound = next(c for c in found.evidence.confounds if c.name == "background")
    assert confound.auc_parts > 0.95
    assert confound.folds == 5


def test_the_background_does_not_see_the_part() -> None:
    part = np.zeros((64, 64), np.uint8)
    cv2.circle(part, (32, 32), 32, 255, -1)
    assert not background(part[None]).any()


def test_copies_of_few_parts_do_not_pass_for_many(tmp_path: Path) -> None:
    """One dark good part in 20 copies: by picture the light tells the class, by part it does not."""
    data = draw_set(tmp_path / "data", range(12))
    for degrees in range(5, 105, 5):
        write(data / "ok" / f"copy-{degrees}.png", turned(relit(draw_ring(0), 1, 0.6), degrees))
    found = audit(data)
    light = next(c for c in found.evidence.confounds if c.name == "brightness")
    assert light.auc_pictures > 0.8
    assert light.parts == (6, 6)
    assert finding(found, "brightness alone").level == "note"


def test_one_class_alone_can_be_audited(tmp_path: Path) -> None:
    draw_set(tmp_path / "data", range(0, 8, 2))
    assert finding(audit(tmp_path / "data"), "what gives the class away").level == "note"


def test_three_classes_are_each_held_against_the_others(data: Path) -> None:
    for seed in range(50, 56):
        write(data / "crack" / f"{seed}.png", relit(draw_ring(seed), 1, 0.7))
    assert finding(audit(data), "brightness alone").said.startswith("Darker pictures are mostly crack: ")


def test_a_folder_without_one_whole_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ok").mkdir()
    (tmp_path / "ok" / "a.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"no file in .* is a whole picture"):
        audit(tmp_path)


def run(*arguments: str | Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["edge-qc-train", "audit", *map(str, arguments)])
        try:
            main()
        except SystemExit as stopped:
            return int(stopped.code or 0)
    return 0


def test_the_status_is_1_only_if_asked_and_only_if_serious(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "--strict") == 0
    write(data / "defect" / "wrong.png", draw_ring(0))
    assert run(data) == 0
    assert run(data, "--strict") == 1
    assert "contradicting labels" in capsys.readouterr().out


def test_json_names_every_picture_that_was_found(data: Path, tmp_path: Path) -> None:
    write(data / "ok" / "turned.png", turned(draw_ring(0), 33))
    assert run(data, "--json", tmp_path / "found.json") == 0
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    assert (found["n"], found["parts"], found["labels"]) == (13, 12, ["defect", "ok"])
    assert [[Path(path).name for path in group] for group in found["groups"]] == [["000.png", "turned.png"]]
    assert {row["fingerprint"] for row in found["sets"]} == {found["fingerprint"]}
    assert {one["name"] for one in found["confounds"]} == {"brightness", "contrast", "file size", "background"}


def test_the_page_needs_nothing_beside_it(data: Path, tmp_path: Path) -> None:
    write(data / "ok" / "a <b> & c.png", turned(draw_ring(0), 33))
    (data / "ok" / "bad.png").write_bytes(b"no")
    assert run(data, "--out", tmp_path / "page.html") == 0
    shutil.rmtree(data)
    text = (tmp_path / "page.html").read_text()
    assert "a &lt;b&gt; &amp; c.png" in text
    assert "<b> & c.png" not in text
    assert text.count("data:image/jpeg;base64,") >= 2
    assert not any(outside in text for outside in ("<script", "<link", 'src="http', "url("))


def test_the_page_shows_a_few_of_many_copies(data: Path, tmp_path: Path) -> None:
    for degrees in range(10, 200, 10):
        write(data / "ok" / f"copy-{degrees}.png", turned(draw_ring(0), degrees))
    text = audit_page.page(audit(data), "edge-qc-train audit data")
    assert "20 pictures of ok" in text
    assert "and 13 more" in text


def test_a_class_has_the_colour_and_the_dashes_of_its_role(data: Path) -> None:
    text = audit_page.page(audit(data), "edge-qc-train audit data")
    drawn = re.findall(r'stroke="(#\w+)" stroke-width="2" stroke-dasharray="([^"]*)"/></svg>(\w+)<', text)
    assert {("#d55e00", "5 3", "defect"), ("#0072b2", "", "ok")} == set(drawn)


def test_whoever_cannot_see_the_page_is_told(data: Path) -> None:
    write(data / "ok" / "turned.png", turned(draw_ring(0), 33))
    text = audit_page.page(audit(data), "edge-qc-train audit data")
    assert re.findall("<img [^>]*alt=.[^>]+>", text)
    assert 'alt=""' not in text
    assert not re.findall("<th>|<svg (?!.*(aria-label|aria-hidden))", text)


@settings(max_examples=25, deadline=None)
@given(gamma=st.floats(0.6, 1.6), gain=st.floats(0.7, 1.05), degrees=st.floats(0, 360), mirrored=st.booleans())
def test_a_copy_joins_its_part_in_any_light(*, gamma: float, gain: float, degrees: float, mirrored: bool) -> None:
    copy = relit(turned(draw_ring(3), degrees, mirrored=mirrored), gamma, gain)
    pictures = np.stack([draw_ring(3), copy, draw_ring(4)])
    first, second, third = group_near_copies(pictures, ["a", "b", "c"], 0.88, np.arange(3))
    assert first == second != third


def test_a_dark_table_is_not_taken_for_the_bore() -> None:
    pixels = draw_ring(1)
    outside = np.hypot(*(np.indices(pixels.shape) - 149.5)) > 135
    pixels[outside] = 5
    bore = find_opening(pixels)
    assert bore is not None
    assert np.allclose((bore.x, bore.y, bore.width, bore.height), (150, 150, 140, 140), atol=8)
