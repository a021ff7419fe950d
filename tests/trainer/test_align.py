"""Parts that lie anywhere on a plain background: the trainer cuts them out by the device's own code."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_qc.bundle import SHIPPED, Bundle, load_bundle, write_bundle
from edge_qc.domain import Outcome, Pixels
from edge_qc.picture import read_picture
from edge_qc_trainer import dataset
from edge_qc_trainer.card import Notes, bundle_of
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.convert import Quantized
from edge_qc_trainer.evaluate import Judgement, inspector_of, judge
from edge_qc_trainer.job import Progress
from edge_qc_trainer.measure import judge_by_part
from edge_qc_trainer.report_pictures import thumbnail
from edge_qc_trainer.statistics import remake
from fakes import frame, part
from ring_parts import draw_ring, write

EMPTY = np.full((240, 320), 100, np.uint8)


def _on_a_belt(seed: int) -> Pixels:
    """A ring somewhere on a wide belt, of another size each."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(120, 200))
    ring = draw_ring(seed)
    down, across = np.mgrid[-149.5:150, -149.5:150]
    ring[np.hypot(down, across) > 134] = 100
    belt, top, left = EMPTY.copy(), int(rng.integers(0, 240 - side)), int(rng.integers(0, 320 - side))
    belt[top : top + side, left : left + side] = cv2.resize(ring, (side, side), interpolation=cv2.INTER_AREA)
    return belt


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six parts of each class, and a picture of the empty belt among the good ones."""
    folder = tmp_path_factory.mktemp("data")
    for seed in range(12):
        write(folder / ("def_front", "ok_front")[seed % 2] / f"{seed:02d}.png", _on_a_belt(seed))
    write(folder / "ok_front" / "empty.png", EMPTY)
    return folder


@pytest.fixture(scope="module")
def aligning(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped model, whose card says to align, with the statistics of the belt's pictures."""
    shipped = load_bundle(SHIPPED)
    card_input = shipped.card.input.model_copy(update={"align": "part"})
    path = tmp_path_factory.mktemp("made") / "bundle"
    write_bundle(path, shipped.card.model_copy(update={"input": card_input}), shipped.model, "# card\n")
    return remake(path, [data], lambda _what, _total: lambda: None)


def test_the_trainer_sees_a_part_as_the_device_will(data: Path, aligning: Bundle) -> None:
    loaded = dataset.load(dataset.find_files(data), 300, "letterbox", align="part")
    fit = aligning.card.input.fitting().frame
    assert len(loaded.files) == 12
    for file, seen in zip(loaded.files, loaded.pixels, strict=True):
        assert np.array_equal(seen, fit(frame(read_picture(file.path))).pixels)


def test_the_trainer_sees_parts_in_the_middle_and_of_one_size(data: Path) -> None:
    loaded = dataset.load(dataset.find_files(data), 300, "letterbox", align="part")
    for seen in loaded.pixels:
        rows, columns = np.nonzero(cv2.medianBlur(seen, 5) < 60)  # the bore, dark, just over half as wide as the part
        assert (rows.mean(), columns.mean()) == pytest.approx((149.5, 149.5), abs=6)
        assert np.ptp(columns) == pytest.approx(300 / 1.16 * 70 / 135, rel=0.06)


def test_a_picture_without_a_part_is_skipped_and_says_why(data: Path) -> None:
    (skipped,) = dataset.load(dataset.find_files(data), 300, "letterbox", align="part").unreadable
    assert skipped.path.name == "empty.png"
    assert "no part found to cut out; expected one, whole, that stands out from a plain background" in skipped.reason


def test_a_class_without_any_part_is_refused_and_says_why(tmp_path: Path) -> None:
    write(tmp_path / "def" / "a.png", _on_a_belt(0))
    write(tmp_path / "ok" / "b.png", EMPTY)
    with pytest.raises(dataset.DataError, match=r"class ok has no picture .*; the first, b\.png: no part found"):
        dataset.load(dataset.find_files(tmp_path), 300, "letterbox", align="part")


def test_recipe_notes_and_card_say_whether_parts_are_aligned() -> None:
    shipped = load_bundle(SHIPPED)
    labels = {"labels": shipped.card.labels, "ok_labels": shipped.card.ok_labels}
    notes = Notes.model_validate({"name": "m", "version": "1.0.0", "align": "part", **labels})
    quantized = Quantized(shipped.model, shipped.card.input, shipped.card.outputs)
    assert Recipe.model_validate({"align": "part"}).align == "part"
    assert Notes.model_validate_json(notes.model_dump_json()) == notes
    assert bundle_of(quantized, notes, {}, Path("b")).card.input.fitting().align == "part"
    assert (Recipe().align, shipped.card.input.align) == ("none", "none")


def test_parts_of_the_belt_are_judged_and_the_empty_belt_is_not(data: Path, aligning: Bundle) -> None:
    judgements, unreadable = judge(aligning, dataset.find_files(data))
    by_name = {judgement.path.name: judgement for judgement in judgements}
    assert unreadable == []
    assert by_name.pop("empty.png").reason == "missing"
    assert all(judgement.outcome is not Outcome.NOT_INSPECTED for judgement in by_name.values())


def test_the_gate_knows_the_aligned_pictures_not_the_whole_ones(data: Path, aligning: Bundle) -> None:
    assert aligning.card.statistics is not None
    assert aligning.card.statistics.pictures == 12
    whole = aligning.card.input.model_copy(update={"align": "none"})
    unaligned = Bundle(aligning.path, aligning.card.model_copy(update={"input": whole}), aligning.model)
    aside = read_picture(data / "ok_front" / "01.png")
    outcome = inspector_of(unaligned).inspect(replace(part(), frame=frame(aside)))[0].outcome
    assert outcome is Outcome.NOT_INSPECTED


def test_evaluate_looks_for_copies_among_pictures_of_which_one_shows_no_part(data: Path, aligning: Bundle) -> None:
    judgements, groups, _ = judge_by_part(aligning, dataset.find_files(data), Progress(), group=True)
    assert len(judgements) == len(groups) == 13


def test_the_reports_heatmaps_lie_over_the_whole_pictures(data: Path, aligning: Bundle) -> None:
    judgements, _ = judge(aligning, dataset.find_files(data))
    shown = [one for one in map(thumbnail, judgements) if one is not None and one.overlay]
    assert _names([one.judgement for one in shown]) == _names(judgements) - {"empty.png"}
    heatmaps = [judgement.heatmap for judgement in judgements if judgement.heatmap is not None]
    assert all(heatmap.shape[1] > heatmap.shape[0] for heatmap in heatmaps)  # as wide as the belt is


def _names(judgements: list[Judgement]) -> set[str]:
    return {judgement.path.name for judgement in judgements}
