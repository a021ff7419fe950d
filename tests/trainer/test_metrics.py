"""Figures against hand-computed ones."""

from pathlib import Path

import numpy as np
import pytest

from edge_qc.domain import Outcome
from edge_qc_trainer.evaluate import Judgement
from edge_qc_trainer.metrics import by_group, figures, proportion


def judged(label: str, outcome: str, score: float | None, predicted: str | None) -> Judgement:
    return Judgement(Path(f"{label}-{score}.png"), label, Outcome(outcome), predicted, score, "reason")


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


def test_many_copies_of_a_part_count_once() -> None:
    found = by_group(EIGHT, np.array([0, 0, 0, 0, 1, 1, 2, 3]))
    assert (found["right"]["count"], found["n"]) == (3, 4)
    assert found["mean_accuracy"] == pytest.approx((0.75 + 1 + 0 + 1) / 4)
