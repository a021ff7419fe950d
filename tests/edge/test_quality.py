"""The gate: the senseless is never judged, the unusual is left to the model."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_qc.bundle import SHIPPED, load_bundle
from edge_qc.capture.simulated_part import draw_part
from edge_qc.classify.litert import LiteRtClassifier
from edge_qc.domain import Outcome, Pixels
from edge_qc.features import Features, measure
from edge_qc.inspector import Inspector
from edge_qc.quality import QualityGate
from edge_qc.sections import Quality
from fakes import frame, part

BUNDLE = load_bundle(SHIPPED)
GATE = QualityGate(Quality(), BUNDLE.card.statistics)
SIDE = 300
PARTS = [draw_part(np.random.default_rng(seed), seed % 2 == 1).pixels for seed in range(12)]


def _grey(levels: np.ndarray) -> Pixels:
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def _moved(pixels: Pixels, *, turn: float = 0, scale: float = 1, shift: float = 0, border: int = 1) -> Pixels:
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turn, scale)
    matrix[0, 2] += shift * SIDE
    return np.asarray(cv2.warpAffine(pixels, matrix, (SIDE, SIDE), borderMode=border), np.uint8)


def _noise(deviation: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, deviation, (SIDE, SIDE))


def _scene(draw: Callable[[Pixels], object], background: int = 190) -> Pixels:
    canvas = np.full((SIDE, SIDE), background, np.uint8)
    draw(canvas)
    return _grey(canvas + _noise(3))


def _hand(canvas: Pixels) -> None:
    cv2.ellipse(canvas, (140, 170), (80, 50), 30, 0, 360, 70, -1)
    for finger in range(4):
        cv2.line(canvas, (150, 150), (270, 100 + 35 * finger), 70, 18)


def _bolt(canvas: Pixels) -> None:
    cv2.line(canvas, (40, 250), (260, 60), 70, 30)
    cv2.circle(canvas, (250, 70), 35, 70, -1)


def _nut(canvas: Pixels) -> None:
    angles = np.arange(6) * np.pi / 3
    cv2.fillPoly(canvas, [np.int32(150 + 105 * np.stack([np.cos(angles), np.sin(angles)], 1))], 110)
    cv2.circle(canvas, (150, 150), 50, 190, -1)


def _disc(canvas: Pixels) -> None:
    cv2.circle(canvas, (150, 150), 90, 60, -1)


def _senseless() -> Iterator[tuple[str, Pixels]]:
    rng = np.random.default_rng(1)
    yield "black", np.zeros((SIDE, SIDE), np.uint8)
    yield "white", np.full((SIDE, SIDE), 255, np.uint8)
    yield "grey", np.full((SIDE, SIDE), 128, np.uint8)
    yield "uniform noise", rng.integers(0, 256, (SIDE, SIDE), np.uint8)
    yield "soft noise", _grey(128 + _noise(30))
    for size in (1, 2, 8, 30, 75):
        fields = (np.add.outer(np.arange(SIDE) // size, np.arange(SIDE) // size) % 2).astype(np.uint8)
        yield f"checkerboard of {size} px", fields * 255
        yield f"grey checkerboard of {size} px", fields * 120 + 70
    yield "gradient", _grey(np.tile(np.linspace(0, 255, SIDE), (SIDE, 1)))
    yield "clouds", _grey(128 + 50 * _unit(cv2.GaussianBlur(_noise(1), (0, 0), 10)))
    yield "hand", _scene(_hand)
    yield "bolt", _scene(_bolt)
    yield "nut", _scene(_nut)
    yield "box", _scene(lambda canvas: cv2.rectangle(canvas, (60, 90), (240, 210), 60, -1))
    yield "disc", _scene(_disc)
    yield "empty belt", _scene(lambda _: None, 170)
    yield "negative of a part", 255 - PARTS[0]
    yield "half a part", np.where(np.arange(SIDE) < 150, 170, PARTS[0]).astype(np.uint8)
    yield "pixels of a part in disorder", rng.permutation(PARTS[0].ravel()).reshape(SIDE, SIDE)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / values.std()


@pytest.mark.parametrize(("pixels"), [pytest.param(pixels, id=name) for name, pixels in _senseless()])
def test_what_shows_no_part_is_never_judged(pixels: Pixels) -> None:
    assert GATE(frame(pixels)) is not None


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((SIDE, SIDE), 5, np.uint8), "dark"),
        (np.full((SIDE, SIDE), 250, np.uint8), "bright"),
        (np.full((SIDE, SIDE), 128, np.uint8), "flat"),
        (np.where(PARTS[0] > 128, 255, 0).astype(np.uint8), "clipped"),
        (cv2.GaussianBlur(PARTS[0], (0, 0), 6), "blurred"),
        (_moved(PARTS[0], shift=0.3), "misaligned"),
        (255 - PARTS[0], "missing"),
        (_scene(_disc), "unlike"),
    ],
)
def test_each_fault_has_its_reason_and_says_its_figure(pixels: Pixels, reason: str) -> None:
    fault = GATE(frame(np.asarray(pixels, np.uint8)))
    assert fault is not None
    assert fault.reason == reason
    assert "wanted" in fault.detail


_VARIATIONS: dict[str, Callable[[Pixels], Pixels]] = {
    "as it is": lambda p: p,
    "gain +30 %": lambda p: _grey(p * 1.3),
    "gain -30 %": lambda p: _grey(p * 0.7),
    "offset +40": lambda p: _grey(p + 40.0),
    "offset -40": lambda p: _grey(p - 40.0),
    "gamma 0.6": lambda p: _grey((p / 255) ** 0.6 * 255),
    "gamma 1.6": lambda p: _grey((p / 255) ** 1.6 * 255),
    "lamp from a side": lambda p: _grey(p * np.linspace(0.8, 1.2, SIDE)),
    "blur": lambda p: np.asarray(cv2.GaussianBlur(p, (0, 0), 1), np.uint8),
    "noise": lambda p: _grey(p + _noise(8)),
    "JPEG 40": lambda p: np.asarray(cv2.imdecode(cv2.imencode(".jpg", p, [1, 40])[1], 0), np.uint8),
    "shift 5 %": lambda p: _moved(p, shift=0.05),
    "scale 0.92": lambda p: _moved(p, scale=0.92),
    "scale 1.08": lambda p: _moved(p, scale=1.08),
    "turned, black corners": lambda p: _moved(p, turn=37, border=cv2.BORDER_CONSTANT),
}


@pytest.mark.parametrize("name", _VARIATIONS)
def test_what_a_line_may_vary_is_judged_all_the_same(name: str) -> None:
    assert [GATE(frame(_VARIATIONS[name](pixels))) for pixels in PARTS] == [None] * len(PARTS)


def test_the_simulated_lines_parts_all_pass() -> None:
    rng = np.random.default_rng(2024)
    assert [GATE(frame(draw_part(rng, bool(i % 2)).pixels)) for i in range(24)] == [None] * 24


def test_noise_is_not_ok_for_the_whole_inspector() -> None:
    card = BUNDLE.card
    inspector = Inspector(GATE, LiteRtClassifier(BUNDLE), card.ok_labels, 0.5, 0.5, fit=card.input.fitting().frame)
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640), np.uint8)
    verdict, prediction = inspector.inspect(replace(part(), frame=frame(pixels)))
    assert (verdict.outcome, prediction) == (Outcome.NOT_INSPECTED, None)


def test_a_bundle_without_statistics_looks_at_the_light_alone() -> None:
    bare = QualityGate(Quality(), None)
    assert bare(frame(_scene(_hand))) is None
    dark = bare(frame(np.zeros((SIDE, SIDE), np.uint8)))
    assert dark is not None
    assert dark.reason == "dark"


@pytest.mark.parametrize(
    ("bounds", "pixels"),
    [
        (Quality(statistics=False), _scene(_disc)),
        (Quality(unlike_above=1e9), _scene(_disc)),
        (Quality(blurred_below=0), cv2.GaussianBlur(PARTS[0], (0, 0), 3.5)),
        (Quality(misaligned_above=2, missing_below=-2, unlike_above=1e9), _moved(PARTS[0], shift=0.3)),
        (Quality(clipped_above=1, statistics=False), np.where(PARTS[0] > 128, 255, 0)),
    ],
)
def test_the_config_overrides_the_bundles_bounds(bounds: Quality, pixels: Pixels) -> None:
    taken = frame(np.asarray(pixels, np.uint8))
    assert GATE(taken) is not None
    assert QualityGate(bounds, BUNDLE.card.statistics)(taken) is None


def test_only_frames_that_are_fit_are_passed_on() -> None:
    passed: list[Features] = []
    gate = QualityGate(Quality(), BUNDLE.card.statistics, passed.append)
    gate(frame(np.zeros((SIDE, SIDE), np.uint8)))
    assert passed == []
    gate(frame(PARTS[0]))
    assert passed[0].level == pytest.approx(PARTS[0].mean())


@settings(max_examples=60, deadline=None)
@given(st.integers(32, 400), st.integers(32, 400), st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 255))
def test_any_picture_has_finite_features(rows: int, columns: int, seed: int, one: int, other: int) -> None:
    pixels = (
        np.random.default_rng(seed).integers(min(one, other), max(one, other) + 1, (rows, columns)).astype(np.uint8)
    )
    features = measure(pixels)
    assert np.isfinite(features.vector).all()
    assert 0 <= features.clipped <= 1


@given(st.floats(0.5, 1.0), st.integers(0, 60))
@settings(max_examples=20, deadline=None)
def test_light_alone_moves_no_feature_of_shape(gain: float, offset: int) -> None:
    plain = measure(PARTS[2] // 2)
    lit = measure(_grey((PARTS[2] // 2) * gain + offset))
    assert np.abs(lit.vector - plain.vector).max() < 0.1
