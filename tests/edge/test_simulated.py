"""The simulated line."""

import itertools
import time

import numpy as np
import pytest

from edge_qc.capture.base import EndOfSource, Shot
from edge_qc.capture.simulated import DEFECTS, SimOptions, SimulatedCamera, draw_part, parse_sim_uri
from edge_qc.errors import CaptureError


def _read(camera: SimulatedCamera) -> Shot:
    for _ in range(100):
        shot = camera.read(0.1)
        if shot is not None:
            return shot
    raise AssertionError("no part within 10 s")


def test_the_same_seed_draws_the_same_part() -> None:
    one, two = (draw_part(np.random.default_rng(7), True) for _ in range(2))
    other = draw_part(np.random.default_rng(8), True)
    assert np.array_equal(one.pixels, two.pixels)
    assert not np.array_equal(one.pixels, other.pixels)


def test_a_good_part_has_no_defect_and_fit_light() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        part = draw_part(rng, False)
        assert (part.defective, part.defect, part.mask) == (False, None, None)
        assert part.pixels.shape == (300, 300)
        assert part.pixels.dtype == np.uint8
        assert 60 < part.pixels.mean() < 210
        assert part.pixels.std() > 30


def test_every_defect_is_drawn_and_is_plain_to_see() -> None:
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(40):
        part = draw_part(rng, True)
        assert part.mask is not None
        seen.add(part.defect)
        assert part.mask.shape == part.pixels.shape
        assert 25 < part.mask.sum() < 4000
        assert part.pixels[part.mask].std() > 12
    assert seen == set(DEFECTS)


def test_light_does_not_tell_the_label() -> None:
    rng = np.random.default_rng(3)
    good, bad = ([draw_part(rng, label).pixels[:20, :20].mean() for _ in range(150)] for label in (False, True))
    assert abs(np.mean(good) - np.mean(bad)) < 4 * np.sqrt((np.var(good) + np.var(bad)) / 150)


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("sim:", SimOptions()),
        ("sim:?", SimOptions()),
        ("sim:?parts=20&rate=7.5&defect_rate=1&seed=3", SimOptions(20, 7.5, 1.0, 3)),
        ("sim:?rate=1000&defect_rate=0", SimOptions(rate=1000.0, defect_rate=0.0)),
    ],
)
def test_uris_that_are_understood(uri: str, options: SimOptions) -> None:
    assert parse_sim_uri(uri) == options


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sim:?speed=3", "parts, rate, defect_rate, seed"),
        ("sim:?rate=0", "rate"),
        ("sim:?rate=1000.1", "rate"),
        ("sim:?rate=nan", "rate"),
        ("sim:?rate=inf", "rate"),
        ("sim:?rate=", "rate"),
        ("sim:?parts=-1", "parts"),
        ("sim:?parts=2.5", "parts"),
        ("sim:?defect_rate=20%25", "defect_rate"),
        ("sim:?defect_rate=1.1", "defect_rate"),
        ("sim:?seed=-1", "seed"),
        ("sim:?rate=5&rate=6", "rate"),
        ("sim:?rate", "key=value"),
        ("sim:20", "sim:"),
        ("sim://host", "sim:"),
    ],
)
def test_uris_that_are_refused(uri: str, said: str) -> None:
    with pytest.raises(CaptureError) as caught:
        SimulatedCamera(uri)
    assert said in caught.value.expected
    assert caught.value.remedy


def test_the_camera_gives_its_parts_and_ends() -> None:
    camera = SimulatedCamera("sim:?parts=6&rate=200&defect_rate=0.5&seed=4")
    camera.open()
    shots = [_read(camera) for _ in range(6)]
    frames = [shot.frame for shot in shots if shot.frame is not None]
    assert [frame.seq for frame in frames] == [1, 2, 3, 4, 5, 6]
    assert {frame.truth for frame in frames} <= {"ok", *DEFECTS}
    assert all(a.captured_ns < b.captured_ns for a, b in itertools.pairwise(frames))
    with pytest.raises(EndOfSource):
        camera.read(0.1)
    camera.close()
    camera.close()


def test_a_part_that_is_not_due_is_none_within_the_timeout() -> None:
    camera = SimulatedCamera("sim:?rate=0.01")
    camera.open()
    start = time.monotonic()
    assert camera.read(0.02) is None
    assert time.monotonic() - start < 2


def test_a_picture_is_fresh_when_it_is_read() -> None:
    camera = SimulatedCamera("sim:?parts=3&rate=100")
    camera.open()
    for _ in range(3):
        before = time.monotonic_ns()
        frame = _read(camera).frame
        assert frame is not None
        assert before <= frame.captured_ns <= time.monotonic_ns()
