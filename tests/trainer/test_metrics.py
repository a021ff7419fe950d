"""Figures against hand-computed ones."""

from pathlib import Path

import numpy as np
import pytest

from edge_qc.domain import Outcome
from edge_qc_trainer.evaluate import Judgement
from edge_qc_trainer.intervals import proportion
from edge_qc_trainer.metrics import by_group, calibration, figures


def judged(label: str, outcome: str, score: float | None, predicted: str | None) -> Judgement:
    return Judgement(Path(f"{label}-{score}.png"), label, Outcome(outcome), predicted, score, "reason")


def copies(defective: int, wrong: int) -> tuple[list[Judgement], np.ndarray]:
    """Defective parts in twenty pictures each, of which some escape in all; and the part of each picture."""
    escaped, caught = judged("def", "ok", 0.1, "ok"), judged("def", "reject", 0.9, "def")
    pictures = [escaped if part < wrong else caught for part in range(defective) for _ in range(20)]
    return pictures, np.repeat(np.arange(defective), 20)


EIGHT = [
    judged("def", "reject", 0.9, "def"),
    judged("def", "reject", 0.8, "def"),
    judged("def", "reject", 0.7, "def"),
    judged("def", "ok", 0.2, "ok"),
    judged("ok", "ok", 0.1, "ok"),
    judged("ok", "ok", 0.3, "ok"),
    judged("ok", "reject", 0.75, "def"),
    judged("ok", "unsure", 0.5, "ok"),
]
FOUND = figures(EIGHT, ("def", "ok"), ("ok",))


def test_confusion_matrix_has_actual_rows_and_predicted_columns() -> None:
    assert FOUND["confusion_matrix"] == [[3, 1], [1, 3]]


def test_accuracy_is_the_share_right() -> None:
    assert (FOUND["n"], FOUND["accuracy"]) == (8, 0.75)


def test_a_class_has_precision_recall_f1_and_support() -> None:
    assert FOUND["per_class"]["def"] == {"precision": 0.75, "recall": 0.75, "f1": 0.75, "support": 4}


def test_escapes_are_defective_parts_judged_ok() -> None:
    assert (FOUND["escape"]["count"], FOUND["escape"]["of"], FOUND["escape"]["rate"]) == (1, 4, 0.25)


def test_overkill_is_good_parts_rejected() -> None:
    assert (FOUND["overkill"]["count"], FOUND["overkill"]["of"]) == (1, 4)


def test_an_unsure_part_is_neither_escape_nor_overkill() -> None:
    unsure = figures([judged("def", "unsure", 0.5, "ok")], ("def", "ok"), ("ok",))
    assert unsure["escape"]["count"] == unsure["overkill"]["count"] == 0


def test_verdicts_are_counted() -> None:
    assert FOUND["verdicts"] == {"ok": 3, "reject": 4, "unsure": 1, "not_inspected": 0}


def test_auc_is_the_share_of_pairs_in_order() -> None:
    # Of 16 pairs of a defective and a good one, 0.2 loses to 0.3, 0.5 and 0.75, and 0.7 to 0.75.
    assert FOUND["auc"] == pytest.approx(12 / 16)


def test_auc_of_one_class_is_null() -> None:
    assert figures(EIGHT[:4], ("def", "ok"), ("ok",))["auc"] is None


def test_errors_are_named_worst_first() -> None:
    assert [(error["label"], error["score"]) for error in FOUND["errors"]] == [("def", 0.2), ("ok", 0.75)]


def test_a_part_that_was_not_inspected_is_not_counted_in_n() -> None:
    dark = judged("ok", "not_inspected", None, None)
    found = figures([*EIGHT, dark], ("def", "ok"), ("ok",))
    assert (found["n"], found["verdicts"]["not_inspected"]) == (8, 1)


def test_interval_of_none_in_ten_is_the_exact_one() -> None:
    # Clopper-Pearson: the upper bound of 0 in n is 1 - 0.025 ** (1 / n).
    assert proportion(0, 10)["ci95"] == pytest.approx([0, 1 - 0.025**0.1])


def test_interval_of_nothing_is_everything() -> None:
    assert proportion(0, 0)["ci95"] == [0.0, 1.0]


def test_a_part_escapes_by_the_share_of_its_pictures() -> None:
    # Of the defective part's four pictures one is judged ok; of the three good parts one is rejected in half of its.
    found = by_group(EIGHT, np.array([0, 0, 0, 0, 1, 2, 3, 3]), ("ok",))
    assert (found["escape"]["count"], found["escape"]["of"]) == (0.25, 1)
    assert (found["overkill"]["count"], found["overkill"]["of"]) == (0.5, 3)


def test_parts_that_escape_are_counted_whole_too() -> None:
    # Three defective parts of two pictures: one escapes in both, one in one of them, one in none.
    verdicts = ["ok", "ok", "ok", "reject", "reject", "reject"]
    judgements = [judged("def", verdict, 0.5, "def") for verdict in verdicts]
    found = by_group(judgements, np.repeat([4, 7, 9], 2), ("ok",))
    assert found["escaped_parts"] == {"of": 3, "any": 2, "most": 1, "all": 1}
    assert found["overkill_parts"] == {"of": 0, "any": 0, "most": 0, "all": 0}


def test_ppm_is_of_what_is_shipped_by_part() -> None:
    found = by_group(EIGHT, np.array([0, 0, 0, 0, 1, 2, 3, 3]), ("ok",), defect_rate=0.1)["escape_ppm"]
    # A quarter of the defective tenth; of the good rest two of three parts (one is rejected, or unsure).
    assert found["ppm"] == pytest.approx(1e6 * 0.1 * 0.25 / (0.1 * 0.25 + 0.9 * 2 / 3))
    assert found["ci95"][0] <= found["ppm"] <= found["ci95"][1]
    assert [row["defect_rate"] for row in found["at"]] == [0.001, 0.005, 0.01, 0.02, 0.05]
    assert [row["ppm"] for row in found["at"]] == sorted(row["ppm"] for row in found["at"])


def test_the_bootstrap_by_part_is_wider_than_by_picture_alone() -> None:
    # Forty parts of twenty pictures, each wholly right or wholly wrong: forty trials, not eight hundred.
    many, parts = copies(defective=40, wrong=12)
    found = by_group(many, parts, ("ok",))
    drawn, exact = found["bootstrap"]["by_picture"]["escape"], figures(many, ("def", "ok"), ("ok",))["escape"]["ci95"]
    assert drawn[1] - drawn[0] > 2 * (exact[1] - exact[0])


@pytest.mark.parametrize(("defective", "wrong"), [(29, 12), (40, 4), (40, 0)])
def test_the_bootstrap_says_nothing_where_too_few_parts_or_events_could_be_drawn(defective: int, wrong: int) -> None:
    drawn = by_group(*copies(defective, wrong), ("ok",))["bootstrap"]
    assert drawn["escape"] is drawn["by_picture"]["escape"] is drawn["escape_ppm"] is None


def test_the_bootstrap_of_one_class_has_no_figure_of_the_other() -> None:
    found = by_group(*copies(defective=40, wrong=12), ("ok",))
    assert found["bootstrap"]["overkill"] is found["bootstrap"]["escape_ppm"] is None
    assert found["bootstrap"]["escape"] is not None
    assert found["escape_ppm"]["ppm"] is found["escape_ppm"]["ci95"] is None
    assert found["escape_ppm"]["at"] == []


def test_parts_right_in_most_pictures_have_both_intervals() -> None:
    found = by_group(*copies(defective=40, wrong=12), ("ok",))["right_in_most"]
    assert (found["count"], found["of"]) == (28, 40)
    assert found["bootstrap"][0] < 28 / 40 < found["bootstrap"][1]
    assert found["ci95"][0] < 28 / 40 < found["ci95"][1]


def test_parts_that_were_not_inspected_are_left_out() -> None:
    dark = judged("ok", "not_inspected", None, None)
    assert by_group([*EIGHT, dark], np.arange(9), ("ok",))["n"] == 8
    nothing = by_group([dark], np.arange(1), ("ok",))
    assert (nothing["n"], nothing["mean_accuracy"], nothing["escape"]["of"], nothing["wrong"]) == (0, None, 0, [])


def test_a_wrong_part_is_shown_by_its_worst_picture_and_every_verdict() -> None:
    found = by_group(EIGHT, np.array([3, 3, 3, 3, 5, 5, 6, 6]), ("ok",))["wrong"]
    assert [(row["part"], row["wrong"], row["pictures"]) for row in found] == [(6, 1, 2), (3, 1, 4)]
    assert [row["example"] for row in found] == ["ok-0.75.png", "def-0.2.png"]
    assert found[1]["judged"] == {"reject": 3, "ok": 1}


def test_calibration_error_is_the_distance_between_score_and_frequency() -> None:
    # Ten pictures of score 0.75, of which six are defective; ten of 0.05, of which none is.
    high = [judged("def" if place < 6 else "ok", "reject", 0.75, "def") for place in range(10)]
    low = [judged("ok", "ok", 0.05, "ok")] * 10
    found = calibration([*high, *low], ("ok",))
    assert found["ece"] == pytest.approx((0.15 + 0.05) / 2)
    assert [(row["from"], row["pictures"], row["defective"]) for row in found["bins"]] == [(0, 10, 0), (0.7, 10, 0.6)]


def test_a_score_of_one_belongs_to_the_last_step() -> None:
    assert calibration([judged("def", "reject", 1.0, "def")], ("ok",))["bins"][0]["from"] == 0.9


def test_many_copies_of_a_part_count_once() -> None:
    found = by_group(EIGHT, np.array([0, 0, 0, 0, 1, 1, 2, 3]))
    assert (found["right"]["count"], found["n"]) == (3, 4)
    assert found["mean_accuracy"] == pytest.approx((0.75 + 1 + 0 + 1) / 4)
