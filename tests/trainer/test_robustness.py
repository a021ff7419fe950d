"""What light, optics and place do to a picture, exactly."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_qc.bundle import SHIPPED, load_bundle
from edge_qc.domain import Outcome, Pixels
from edge_qc_trainer import dataset
from edge_qc_trainer.dataset import LabelledFile
from edge_qc_trainer.evaluate import BackgroundJudge, Judgement
from edge_qc_trainer.robustness import CLEAN, CONDITIONS, CONTROL, judge_varied, mask_part, table
from ring_parts import draw_ring

GREY = np.full((80, 80), 100, np.uint8)


def varied(name: str, pixels: Pixels, seed: int = 0) -> Pixels:
    return CONDITIONS[name](pixels, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("name", "level"),
    [
        (CLEAN, 100),
        ("gain -30 %", 70),
        ("gain +30 %", 130),
        ("offset -40", 60),
        ("offset +40", 140),
        ("gamma 0.6", round(255 * (100 / 255) ** 0.6)),
        ("gamma 1.6", round(255 * (100 / 255) ** 1.6)),
    ],
)
def test_light_has_the_level_that_its_name_says(name: str, level: int) -> None:
    assert set(varied(name, GREY).ravel()) == {level}


def test_light_does_not_wrap_around_at_its_ends() -> None:
    black_and_white = np.array([[0, 255]], np.uint8)
    assert varied("offset -40", black_and_white).tolist() == [[0, 215]]
    assert varied("gain +30 %", black_and_white).tolist() == [[0, 255]]


def test_the_lamp_falls_by_two_fifths_across_the_picture() -> None:
    for seed in range(5):
        lit = varied("lamp gradient 40 %", GREY, seed).astype(float)
        slopes = [float(np.polyfit(np.linspace(-0.5, 0.5, 80), lit.mean(axis), 1)[0]) for axis in (0, 1)]
        assert np.hypot(*slopes) == pytest.approx(40, abs=1)
        assert lit.mean() == pytest.approx(100, abs=1)


def test_noise_has_its_deviation_and_no_lean() -> None:
    noise = varied("noise sigma 8", GREY).astype(float) - 100
    assert noise.std() == pytest.approx(8, abs=0.3)
    assert abs(noise.mean()) < 0.3


def test_a_shift_moves_by_a_twentieth_of_both_sides() -> None:
    spot = np.zeros((100, 100), np.uint8)
    spot[50, 50] = 255
    moved = {tuple(int(i) for i in np.argwhere(varied("shift ±5 %", spot, seed))[0]) for seed in range(20)}
    assert moved == {(45, 45), (45, 55), (55, 45), (55, 55)}


@pytest.mark.parametrize(("name", "factor"), [("scale -8 %", 0.92), ("scale +8 %", 1.08)])
def test_a_scale_changes_the_area_by_its_square(name: str, factor: float) -> None:
    disc = np.zeros((300, 300), np.uint8)
    cv2.circle(disc, (150, 150), 100, 255, -1)
    assert (varied(name, disc) > 127).sum() / (disc > 127).sum() == pytest.approx(factor**2, rel=0.01)


def test_a_turn_keeps_what_is_round_and_moves_what_is_not() -> None:
    part = draw_ring(1)
    turned = varied("any rotation", part)
    bore = cv2.circle(np.zeros_like(part), (150, 150), 60, 255, -1) > 0
    assert np.abs(turned[bore].astype(int) - part[bore]).max() <= 1
    assert np.abs(turned.astype(int) - part).mean() > 2


def test_the_same_seed_gives_the_same_pictures() -> None:
    part = draw_ring(2, 64)
    for name in CONDITIONS:
        assert np.array_equal(varied(name, part, 7), varied(name, part, 7)), name


def test_every_condition_but_the_first_changes_the_picture() -> None:
    part = draw_ring(2, 64)
    assert [name for name in CONDITIONS if np.array_equal(varied(name, part), part)] == [CLEAN]


def test_the_control_leaves_nothing_of_the_part() -> None:
    part, other = draw_ring(3), draw_ring(4)
    assert not np.array_equal(part, other)
    assert np.array_equal(mask_part(part), mask_part(other))


def judged(label: str, predicted: str | None) -> Judgement:
    if predicted is None:
        return Judgement(Path("a"), label, Outcome.NOT_INSPECTED, None, None, "dark")
    defective = predicted == "def"
    return Judgement(Path("a"), label, Outcome.REJECT if defective else Outcome.OK, predicted, 0.9 * defective, "")


def test_what_is_not_inspected_counts_as_a_loss() -> None:
    clean = [judged("def", "def"), judged("def", "def"), judged("ok", "ok"), judged("ok", "ok")]
    dark = [judged("def", "def"), judged("def", None), judged("ok", "ok"), judged("ok", "ok")]
    rows = table({CLEAN: clean, "night": dark}, np.arange(4), ("def", "ok"), ("ok",))["conditions"]
    assert [(row["not_inspected"], row["change"]) for row in rows] == [(0, 0), (1, -25)]


def test_a_condition_says_what_it_made_wrong_what_right_and_what_it_cost_by_part() -> None:
    clean = [judged("def", "def"), judged("def", "ok"), judged("ok", "ok"), judged("ok", "ok")]
    foggy = [judged("def", "ok"), judged("def", "def"), judged("ok", "def"), judged("ok", "ok")]
    # One part in three pictures, another in one: by part, (1/3 + 1) / 2 are right instead of (2/3 + 1) / 2.
    found = table({CLEAN: clean, "fog": foggy, "haze": clean}, np.array([0, 0, 0, 1]), ("def", "ok"), ("ok",))
    row = found["conditions"][1]
    assert (row["newly_wrong"], row["newly_right"], row["change"]) == (2, 1, -25)
    assert row["change_by_part"] == pytest.approx(-100 / 6)
    assert (found["worse_than_half_a_point"], found["compared"]) == (1, 2)
    assert found["worst"] == {"condition": "fog", "change": -25}
    assert found["pictures_by_class"] == {"def": {"pictures": 2, "parts": 1}, "ok": {"pictures": 2, "parts": 2}}


def test_where_no_condition_costs_anything_none_is_the_worst() -> None:
    clean = [judged("def", "def"), judged("ok", "ok")]
    assert table({CLEAN: clean, "fog": clean}, np.arange(2), ("def", "ok"), ("ok",))["worst"] is None


def test_a_control_without_a_part_to_mask_has_no_figures() -> None:
    clean = [judged("def", "def"), judged("ok", "ok")]
    control = table({CLEAN: clean, CONTROL: [judged("def", None)] * 2}, np.arange(2), ("def", "ok"), ("ok",))["control"]
    assert (control["possible"], control["n"], control["accuracy"], control["change"]) == (False, 0, None, None)


def test_the_control_of_an_unwrapped_part_is_unwrapped_around_the_opening_that_was_there() -> None:
    bundle = load_bundle(SHIPPED)
    assert bundle.card.input.unwrap == "ring"
    judge = BackgroundJudge(bundle, mask_part)
    one, other = (judge(LabelledFile(Path("a"), "ok_front"), draw_ring(seed)) for seed in (1, 2))
    assert one.outcome is not Outcome.NOT_INSPECTED
    # The same light outside and another part within: nothing of the part is judged.
    assert one.score == other.score


def test_a_control_needs_a_part_in_the_picture() -> None:
    judge = BackgroundJudge(load_bundle(SHIPPED), mask_part)
    assert (
        judge(LabelledFile(Path("a"), "ok_front"), np.full((300, 300), 90, np.uint8)).outcome is Outcome.NOT_INSPECTED
    )


def test_every_picture_is_judged_under_every_condition(run_folder: Path, parts: Path) -> None:
    bundle = load_bundle(run_folder / "bundle")
    files = [file for file in dataset.find_files(parts) if "broken" not in file.path.name][:10]
    found = judge_varied(bundle, files, seed=1)
    assert Counter(len(judgements) for judgements in found.values()) == {10: len(CONDITIONS) + 1}
    assert [j.path for j in found["any rotation"]] == [file.path for file in files]
    assert all(j.outcome is not Outcome.NOT_INSPECTED for j in found[CONTROL])
    again = judge_varied(bundle, files, seed=1)
    assert {name: [j.score for j in js] for name, js in found.items()} == {
        name: [j.score for j in js] for name, js in again.items()
    }
