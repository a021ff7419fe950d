"""The region of interest is the same for trainer and device, and cuts without copying."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.assembly import build_inspector
from edge_qc.bundle import SHIPPED, Bundle, load_bundle
from edge_qc.capture.simulated_part import draw_part
from edge_qc.config import Config
from edge_qc.domain import Frame, Outcome, Prediction
from edge_qc.errors import ConfigError, PictureError
from edge_qc.inspector import Inspector
from edge_qc.preprocess import Fitting, lay_over, resize
from edge_qc.region import Region
from fakes import LABELS, FakeClassifier, frame, part

SQUARE = Region(x=0.25, y=0.1, width=0.5, height=0.8)


def _on_a_wide_belt(left: int) -> np.ndarray:
    wide = np.full((480, 640), 170, np.uint8)
    wide[90:390, left : left + 300] = draw_part(np.random.default_rng(4), False).pixels
    return wide


def _trained_with(region: Region) -> Bundle:
    shipped = load_bundle(SHIPPED)
    changed = shipped.card.input.model_copy(update={"region": region})
    return Bundle(shipped.path, shipped.card.model_copy(update={"input": changed}), shipped.model)


def test_a_region_is_a_view_of_the_frame() -> None:
    pixels = np.arange(100 * 200, dtype=np.uint8).reshape(100, 200)
    seen = SQUARE.of(pixels)
    assert np.shares_memory(seen, pixels)
    assert np.array_equal(seen, pixels[10:90, 50:150])


def test_a_region_in_pixels_is_the_same_pixels_in_any_frame() -> None:
    region = Region(unit="px", x=10, y=20, width=30, height=40)
    assert region.of(np.zeros((480, 640), np.uint8)).shape == (40, 30)
    assert region.of(np.zeros((60, 40), np.uint8)).shape == (40, 30)


def test_a_frame_that_does_not_hold_the_region_says_so() -> None:
    region = Region(unit="px", x=10, y=20, width=30, height=41)
    with pytest.raises(PictureError, match=r"expected a frame that holds 30 x 41 at 10, 20 .*; got one of 40 x 60 px"):
        region.of(np.zeros((60, 40), np.uint8))


def test_shares_beyond_the_frame_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1"):
        Region(x=0.6, y=0, width=0.5, height=1)


@given(st.integers(64, 700), st.integers(64, 700), st.sampled_from(["letterbox", "crop", "stretch"]))
def test_fitting_a_region_is_fitting_the_cut_picture(rows: int, columns: int, fit: str) -> None:
    pixels = np.random.default_rng(rows).integers(0, 256, (rows, columns), np.uint8)
    fitted = Fitting(96, 96, fit, SQUARE).pixels(pixels)  # type: ignore[arg-type]
    assert np.array_equal(fitted, resize(np.ascontiguousarray(SQUARE.of(pixels)), 96, 96, fit))  # type: ignore[arg-type]


def test_a_frame_of_the_models_size_is_passed_on_as_it_is() -> None:
    taken = frame(np.zeros((96, 96), np.uint8))
    assert Fitting(96, 96).frame(taken) is taken


@pytest.mark.parametrize("factor", [2.133, 2.9, 4.27, 6.4])
def test_scaling_in_two_steps_keeps_the_grey_levels_of_scaling_at_once(factor: float) -> None:
    import cv2  # noqa: PLC0415

    part_pixels = draw_part(np.random.default_rng(4), False).pixels
    large = np.asarray(cv2.resize(part_pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)
    at_once = cv2.resize(large, (300, 300), interpolation=cv2.INTER_AREA)
    assert np.abs(resize(large, 300, 300, "stretch").astype(int) - at_once.astype(int)).mean() < 2


def test_the_config_finds_the_part_on_a_wide_belt() -> None:
    region = Region(unit="px", x=40, y=90, width=300, height=300)
    with_region = build_inspector(Config(region=region), load_bundle(SHIPPED))
    without = build_inspector(Config(), load_bundle(SHIPPED))
    aside = replace(part(), frame=frame(_on_a_wide_belt(40)))
    assert with_region.inspect(aside)[0].outcome is not Outcome.NOT_INSPECTED
    assert without.inspect(aside)[0].outcome is Outcome.NOT_INSPECTED


def test_the_bundles_region_holds_where_the_config_names_none() -> None:
    bundle = _trained_with(Region(unit="px", x=40, y=90, width=300, height=300))
    aside = replace(part(), frame=frame(_on_a_wide_belt(40)))
    assert build_inspector(Config(), bundle).inspect(aside)[0].outcome is not Outcome.NOT_INSPECTED


def test_the_config_may_move_the_bundles_region_but_not_resize_it() -> None:
    bundle = _trained_with(Region(unit="px", x=40, y=90, width=300, height=300))
    moved = build_inspector(Config(region=Region(unit="px", x=200, y=90, width=300, height=300)), bundle)
    aside = replace(part(), frame=frame(_on_a_wide_belt(200)))
    assert moved.inspect(aside)[0].outcome is not Outcome.NOT_INSPECTED
    with pytest.raises(ConfigError, match=r"expected the size that casting-.* was trained with"):
        build_inspector(Config(region=SQUARE), bundle)


def test_a_part_whose_frame_does_not_hold_the_region_is_not_inspected() -> None:
    inspector = build_inspector(Config(region=Region(unit="px", x=0, y=0, width=900, height=300)), load_bundle(SHIPPED))
    verdict, _ = inspector.inspect(part())
    assert (verdict.outcome, verdict.reason) == (Outcome.NOT_INSPECTED, "region")


@given(
    st.integers(60, 500),
    st.integers(60, 500),
    st.sampled_from(["letterbox", "crop", "stretch"]),
    st.sampled_from([None, SQUARE]),
)
def test_what_is_seen_is_laid_back_over_the_frame_where_it_was(
    rows: int, columns: int, fit: str, region: Region | None
) -> None:
    coarse = np.random.default_rng(rows * columns).random((5, 5), np.float32)
    pixels = np.rint(cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(
        np.uint8
    )
    seen = Fitting(96, 96, fit, region).frame(frame(pixels))  # type: ignore[arg-type]
    assert seen.window is not None
    laid = lay_over(seen.pixels.astype(np.float32), seen.window, rows, columns)
    there = lay_over(np.ones((96, 96), np.float32), seen.window, rows, columns) == 1
    if region is not None:  # what a letterbox adds to a narrow region is no picture
        outside = np.ones(laid.shape, np.bool_)
        region.of(outside.view(np.uint8))[1:-1, 1:-1] = 0
        there &= ~outside
    whole = cv2.resize(pixels, laid.shape[::-1], interpolation=cv2.INTER_AREA)
    assert there.any()
    assert np.abs(laid - whole)[there].mean() < 4


def test_the_kept_heatmap_of_a_wide_frame_lies_over_all_of_it() -> None:
    def classify(_: Frame) -> Prediction:
        return Prediction(LABELS, np.array([0.9, 0.1], np.float32), lambda: np.ones((24, 24), np.float32))

    classifier = FakeClassifier()
    classifier.classify = classify  # type: ignore[method-assign]
    inspector = Inspector(lambda _: None, classifier, ("ok_front",), 0.5, 0.5, fit=Fitting(300, 300).frame)
    _, prediction = inspector.inspect(replace(part(), frame=frame(np.zeros((480, 640), np.uint8))))
    assert prediction is not None
    assert prediction.heatmap is not None
    assert prediction.heatmap.shape == (18, 24)  # without the bars above and below that the letterbox adds
