"""Gate, preprocess, classify, decide: what is said of a part."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.decide import decide, defect_score
from edge_qc.domain import Frame, Outcome, Part, Pixels, Prediction, Unusable
from edge_qc.errors import ModelError
from edge_qc.inspector import Inspector
from edge_qc.preprocess import Normalisation, quantize, resize, standardise
from edge_qc.quality import QualityGate
from edge_qc.sections import Quality
from fakes import LABELS, FakeClassifier, frame, grey, part

probability = st.floats(0, 1, width=32)


def _with(pixels: Pixels) -> Part:
    return replace(part(), frame=frame(pixels))


def _prediction(score: float) -> Prediction:
    return Prediction(LABELS, np.array([score, 1 - score], np.float32))


def _inspector(classifier: FakeClassifier) -> Inspector:
    return Inspector(QualityGate(Quality()), classifier, ("ok_front",), 0.3, 0.7)


@pytest.mark.parametrize(
    ("score", "outcome", "label"),
    [
        (0.0, Outcome.OK, "ok_front"),
        (0.29, Outcome.OK, "ok_front"),
        (0.31, Outcome.UNSURE, "ok_front"),
        (0.69, Outcome.UNSURE, "def_front"),
        (0.71, Outcome.REJECT, "def_front"),
        (1.0, Outcome.REJECT, "def_front"),
    ],
)
def test_the_thresholds_part_ok_unsure_and_reject(score: float, outcome: Outcome, label: str) -> None:
    verdict = decide(_prediction(score), ("ok_front",), 0.3, 0.7)
    assert (verdict.outcome, verdict.label) == (outcome, label)


@given(probability, probability, probability)
def test_a_higher_score_is_never_judged_better(score: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    order = [Outcome.OK, Outcome.UNSURE, Outcome.REJECT]
    better = decide(_prediction(score * 0.9), ("ok_front",), low, high).outcome
    worse = decide(_prediction(score), ("ok_front",), low, high).outcome
    assert order.index(better) <= order.index(worse)


def test_the_score_is_the_sum_of_the_defective_classes() -> None:
    prediction = Prediction(("crack", "ok", "hole"), np.array([0.2, 0.5, 0.3], np.float32))
    assert defect_score(prediction, ("ok",)) == pytest.approx(0.5)
    assert decide(prediction, ("ok",), 0.4, 0.4).label == "hole"


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [(grey(2) // 8, "dark"), (np.full((64, 64), 250, np.uint8), "bright"), (np.full((64, 64), 128, np.uint8), "flat")],
)
def test_a_picture_without_information_is_never_judged(pixels: Pixels, reason: str) -> None:
    verdict, prediction = _inspector(FakeClassifier(0.0)).inspect(_with(pixels))
    assert (verdict.outcome, verdict.reason, prediction) == (Outcome.NOT_INSPECTED, reason, None)


def test_a_part_without_a_frame_is_not_inspected_for_its_reason() -> None:
    verdict, _ = _inspector(FakeClassifier(0.0)).inspect(part(fault=Unusable("unreadable", "cut off")))
    assert (verdict.outcome, verdict.reason, verdict.detail) == (Outcome.NOT_INSPECTED, "unreadable", "cut off")


def test_a_model_that_fails_is_no_verdict_of_ok() -> None:
    def fail(_: Frame) -> float:
        raise ModelError("it broke")

    verdict, _ = _inspector(FakeClassifier(fail)).inspect(part())
    assert (verdict.outcome, verdict.reason) == (Outcome.NOT_INSPECTED, "model_fault")


NORMALISATIONS: st.SearchStrategy[Normalisation] = st.sampled_from(["standardise", "standardise-circles"])


@given(st.integers(0, 2**32 - 1), st.floats(0.005, 0.1), st.integers(-128, 127), NORMALISATIONS)
def test_quantizing_by_table_is_quantizing_by_arithmetic(
    seed: int, scale: float, zero_point: int, normalisation: Normalisation
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30), np.uint8)
    out = np.empty((20, 30), np.int8)
    quantize(pixels, scale, zero_point, out, normalisation)
    exact = np.clip(np.rint(standardise(pixels, normalisation) / np.float32(scale)) + zero_point, -128, 127)
    assert np.array_equal(out, exact)


def test_what_a_ring_looks_like_all_around_is_taken_off_and_a_spot_stays() -> None:
    circles = np.random.default_rng(1).integers(40, 200, (10, 1)).astype(np.uint8)
    ring = np.tile(np.repeat(circles, 60, axis=1), (2, 1))
    ring[13, 20:24] -= 30
    seen = standardise(ring, "standardise-circles")
    dark = np.unravel_index(np.argsort(seen, axis=None)[:4], seen.shape)
    assert sorted(zip(*(place.tolist() for place in dark), strict=True)) == [(13, 20), (13, 21), (13, 22), (13, 23)]
    flat = np.delete(seen, (3, 13), axis=0)
    assert np.abs(flat).max() == 0


def test_a_circle_is_counted_from_its_mean_over_both_halves() -> None:
    """A rim that is dark on the one side of the part and bright on the other is not the same all around."""
    ring = np.full((20, 60), 100, np.uint8)
    ring[4], ring[14] = 60, 140
    seen = standardise(ring, "standardise-circles")
    assert seen[4].max() < 0 < seen[14].min()


@given(st.floats(0.7, 1.3), st.integers(-20, 20))
def test_a_brighter_lamp_changes_nothing(gain: float, offset: int) -> None:
    pixels = np.random.default_rng(1).integers(60, 150, (40, 40)).astype(np.uint8)
    lit = np.clip(pixels * gain + offset, 0, 255)
    difference = standardise(lit.round().astype(np.uint8)) - standardise(pixels)
    assert np.abs(difference).max() < 0.05  # what rounding to whole grey levels leaves


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(["letterbox", "crop", "stretch"]))
def test_any_size_is_brought_to_the_models(rows: int, columns: int, fit: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (rows, columns), np.uint8)
    out = resize(pixels, 96, 64, fit)  # type: ignore[arg-type]
    assert (out.shape, out.dtype) == ((96, 64), np.uint8)


def test_a_picture_of_the_right_size_is_not_copied() -> None:
    pixels = grey(size=64)
    assert resize(pixels, 64, 64, "letterbox") is pixels


def test_a_letterbox_keeps_the_aspect() -> None:
    pixels = np.zeros((100, 200), np.uint8)
    pixels[:, 100:] = 200
    out = resize(pixels, 100, 100, "letterbox")
    assert out[50, 40] == 0
    assert out[50, 60] == 200
    assert np.array_equal(out[0], out[30])  # the border is repeated, not black


def test_a_frame_of_the_wrong_kind_says_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"\(height, width\) uint8.*float32"):
        frame(np.zeros((3, 3), np.float32))  # type: ignore[arg-type]
