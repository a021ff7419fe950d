"""Before and after quantization, and folds that choose each other's thresholds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_qc.bundle import Thresholds
from edge_qc.domain import Outcome
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.evaluate import Judgement
from edge_qc_trainer.job import Job
from edge_qc_trainer.measure import Measured, choose_out_of_fold, flips, pooled
from edge_qc_trainer.threshold import Policy

LABELS, OK = ("def", "ok"), ("ok",)


def scored(label: str, score: float, thresholds: Thresholds | None = None) -> Judgement:
    draft = Judgement(Path(f"{label}-{score}"), label, Outcome.OK, "ok", score, "", probabilities=(score, 1 - score))
    return draft.decided_anew(LABELS, OK, thresholds or Thresholds())


def test_every_decision_that_quantization_flips_is_named_with_both_scores() -> None:
    int8 = [scored("def", 0.4), scored("def", 0.9), scored("ok", 0.1)]
    in_float = [scored("def", 0.6), scored("def", 0.8), scored("ok", 0.2)]
    found = flips(int8, in_float, LABELS, OK)
    assert (found["n"], found["flipped"]) == (3, 1)
    flip = found["flips"][0]
    assert (flip["path"], flip["float_verdict"], flip["int8_verdict"]) == ("def-0.4", "reject", "ok")
    assert (flip["float_score"], flip["int8_score"]) == pytest.approx((0.6, 0.4))
    assert found["largest_score_distance"] == pytest.approx(0.2)
    assert (found["float"]["accuracy"], found["float"]["escape"]["count"]) == (1.0, 0)


def test_a_flip_says_what_became_of_the_picture() -> None:
    in_float, int8 = [scored("def", 0.6), scored("ok", 0.6)], [scored("def", 0.4), scored("ok", 0.4)]
    found = flips(int8, in_float, LABELS, OK)
    assert [flip["became"] for flip in found["flips"]] == ["wrong", "right"]
    assert (found["became_wrong"], found["became_right"]) == (1, 1)


def test_a_class_that_flips_under_the_same_verdict_is_a_flip() -> None:
    unsure = Thresholds(ok_below=0.3, reject_from=0.7)
    found = flips([scored("def", 0.45, unsure)], [scored("def", 0.55, unsure)], LABELS, OK)
    assert (found["flipped"], found["flips"][0]["float_verdict"]) == (1, "unsure")
    # From the class `def` to `ok` it became wrong, though neither verdict is.
    assert (found["became_wrong"], found["became_right"]) == (1, 0)


def test_what_was_not_inspected_is_not_compared() -> None:
    dark = Judgement(Path("dark"), "ok", Outcome.NOT_INSPECTED, None, None, "dark")
    assert flips([dark], [dark], LABELS, OK)["n"] == 0


def fold(places: list[int], scores: list[float]) -> Measured:
    judgements = [scored("def" if place % 2 else "ok", score) for place, score in zip(places, scores, strict=True)]
    return Measured(np.array(places), judgements, judgements, np.array(places), {"as taken": judgements})


def test_a_fold_is_judged_by_thresholds_that_it_had_no_say_in() -> None:
    # In the first two folds 0.3 parts good from defective, in the third 0.7 does.
    folds = [fold([0, 1], [0.2, 0.4]), fold([2, 3], [0.2, 0.4]), fold([4, 5], [0.6, 0.8])]
    material: Any = SimpleNamespace(dataset=SimpleNamespace(labels=LABELS), groups=np.arange(6))
    job = Job(data=(Path("a"),), recipe=Recipe(), policy=Policy(cost_escape=1, cost_overkill=1, defect_rate=0.5))
    decided, chosen = choose_out_of_fold(job, material, folds)
    # By its own threshold the third fold would have had no overkill.
    assert [judgement.outcome for judgement in decided[2].judgements] == [Outcome.REJECT, Outcome.REJECT]
    assert [judgement.outcome for judgement in decided[2].varied["as taken"]] == [Outcome.REJECT, Outcome.REJECT]
    assert [judgement.outcome for judgement in decided[0].judgements] == [Outcome.OK, Outcome.REJECT]
    assert 0.2 < chosen.thresholds.ok_below <= 0.4


def test_folds_are_pooled_in_order() -> None:
    both = pooled([fold([4, 1], [0.1, 0.2]), fold([0, 3], [0.3, 0.4])])
    assert both.places.tolist() == both.varied_places.tolist() == [4, 1, 0, 3]
    assert [j.score for j in both.judgements] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert len(both.varied["as taken"]) == 4
