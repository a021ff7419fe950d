"""What the trainer puts into a bundle for the gate, and that device and trainer look at the same region."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_qc.bundle import SHIPPED, Bundle, load_bundle, write_bundle
from edge_qc.capture.simulated import draw_part
from edge_qc.domain import Pixels
from edge_qc.picture import read_picture
from edge_qc.preprocess import Fitting
from edge_qc.quality import QualityGate
from edge_qc.region import Region
from edge_qc.sections import Quality
from edge_qc_trainer import dataset
from edge_qc_trainer.card import Notes, bundle_of
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.convert import Quantized
from edge_qc_trainer.evaluate import inspector_of, judge
from edge_qc_trainer.statistics import remake, statistics_of
from fakes import frame, part


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts in the left half of wide frames; the right half is noise."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(8)
    for number in range(16):
        label = ("def_front", "ok_front")[number % 2]
        (folder / label).mkdir(exist_ok=True)
        wide = rng.integers(0, 256, (300, 600), np.uint8)
        wide[:, :300] = draw_part(rng, label == "def_front").pixels
        cv2.imwrite(str(folder / label / f"{number}.png"), wide)
    return folder


LEFT = Region(x=0, y=0, width=0.5, height=1)


def _parts(seed: int, count: int) -> Pixels:
    rng = np.random.default_rng(seed)
    return np.stack([draw_part(rng, bool(i % 2)).pixels for i in range(count)])


def test_statistics_of_some_parts_let_other_parts_pass_and_no_noise() -> None:
    made = statistics_of(_parts(1, 30), np.arange(30) % 2, np.arange(30), np.arange(30))
    gate = QualityGate(Quality(), made)
    assert [gate(frame(pixels)) for pixels in _parts(2, 10)] == [None] * 10
    assert gate(frame(np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8))) is not None
    assert len(made.model_dump_json()) < 6000


def test_the_same_pictures_give_the_same_statistics_for_any_number_of_threads() -> None:
    pixels, numbers = _parts(3, 12), np.arange(12)
    assert statistics_of(pixels, numbers % 2, numbers, numbers) == statistics_of(
        pixels, numbers % 2, numbers, numbers, threads=3
    )


def test_a_copy_of_a_part_counts_less_than_a_part() -> None:
    parts = _parts(4, 6)
    dark_copies = np.concatenate([parts, np.repeat(255 - parts[:1], 20, axis=0)])
    groups = np.array([*range(6), *[6] * 20])
    targets = np.zeros(len(groups), np.int64)
    by_part = statistics_of(dark_copies, targets, groups, np.arange(len(groups)))
    by_picture = statistics_of(dark_copies, targets, np.arange(len(groups)), np.arange(len(groups)))
    alone = np.array(statistics_of(parts, targets[:6], groups[:6], np.arange(6)).centre)
    assert np.linalg.norm(np.array(by_part.centre) - alone) < np.linalg.norm(np.array(by_picture.centre) - alone)


def test_the_pictures_of_a_region_are_trained_on_as_the_device_will_see_them(data: Path) -> None:
    files = dataset.find_files(data)
    loaded = dataset.load(files, 300, "letterbox", region=LEFT)
    card_input = load_bundle(SHIPPED).card.input.model_copy(update={"region": LEFT})
    seen = card_input.fitting().pixels(read_picture(files[0].path))
    assert np.array_equal(loaded.pixels[0], seen)
    assert np.array_equal(seen, Fitting(300, 300).pixels(read_picture(files[0].path)[:, :300]))


def test_a_picture_that_does_not_hold_the_region_is_told_as_unreadable(data: Path) -> None:
    beyond = Region(unit="px", x=0, y=0, width=600, height=301)
    with pytest.raises(dataset.DataError, match="has no picture that can be read"):
        dataset.load(dataset.find_files(data), 300, "letterbox", region=beyond)


def test_the_card_says_what_region_and_statistics_the_model_was_trained_with() -> None:
    bundle = load_bundle(SHIPPED)
    shipped = bundle.card
    notes = Notes(
        name="m",
        version="1.0.0",
        labels=shipped.labels,
        ok_labels=shipped.ok_labels,
        region=LEFT,
        statistics=shipped.statistics,
    )
    card = bundle_of(Quantized(bundle.model, shipped.input, shipped.outputs), notes, {}, Path("b")).card
    assert card.input.region == LEFT
    assert card.statistics == shipped.statistics
    assert Notes.model_validate_json(notes.model_dump_json()) == notes


def test_a_recipe_names_the_region() -> None:
    assert Recipe.model_validate({"region": {"x": 0, "y": 0, "width": 0.5, "height": 1}}).region == LEFT


def test_statistics_can_be_put_into_a_bundle_that_has_none(tmp_path: Path, data: Path) -> None:
    shipped = load_bundle(SHIPPED)
    card_input = shipped.card.input.model_copy(update={"region": LEFT})
    bare = shipped.card.model_copy(update={"statistics": None, "input": card_input})
    path = tmp_path / "bundle"
    write_bundle(path, bare, shipped.model, "# card\n")
    remade = remake(path, [data], lambda _what, _total: lambda: None)
    assert remade.card.statistics is not None
    assert remade.card.statistics.pictures == 16
    assert (remade.card.model_copy(update={"statistics": None}), remade.model) == (bare, shipped.model)
    judgements, _ = judge(remade, dataset.find_files(data)[:4])
    assert all(judgement.predicted is not None for judgement in judgements), "evaluate cuts the region too"
    assert _refuses_noise(remade)


def _refuses_noise(bundle: Bundle) -> bool:
    noise = np.random.default_rng(0).integers(0, 256, (300, 600), np.uint8)
    return inspector_of(bundle).inspect(replace(part(), frame=frame(noise)))[1] is None
