"""Near copies of a part are found; different parts are kept apart."""

import cv2
import numpy as np

from edge_qc.domain import Pixels
from edge_qc_trainer.groups import group_near_copies
from ring_parts import draw_ring, turned


def groups_of(*pictures: Pixels, hashes: list[str] | None = None) -> list[int]:
    names = hashes or [str(place) for place in range(len(pictures))]
    return group_near_copies(np.stack(pictures), names, 0.92, np.arange(len(pictures))).tolist()


def test_turned_copy_joins_its_part() -> None:
    part = draw_ring(1)
    first, second = groups_of(part, turned(part, 37))
    assert first == second


def test_mirrored_and_turned_copy_joins_its_part() -> None:
    part = draw_ring(1)
    first, second = groups_of(part, turned(part, 101, mirrored=True))
    assert first == second


def test_different_parts_stay_apart() -> None:
    assert len(set(groups_of(*[draw_ring(seed) for seed in range(12)]))) == 12


def test_copies_of_copies_share_one_group() -> None:
    part = draw_ring(1)
    assert len(set(groups_of(*[turned(part, degrees) for degrees in range(0, 360, 30)]))) == 1


def test_identical_files_share_a_group_whatever_they_show() -> None:
    flat = np.full((300, 300), 128, np.uint8)
    first, second, third = groups_of(flat, draw_ring(2), draw_ring(3), hashes=["a", "b", "a"])
    assert first == third != second


def test_pictures_without_contrast_are_not_taken_for_copies() -> None:
    flat = np.full((300, 300), 128, np.uint8)
    assert len(set(groups_of(flat, flat + 1))) == 2


def test_pictures_that_are_not_compared_stay_apart() -> None:
    part = draw_ring(1)
    pictures = np.stack([part, turned(part, 90), turned(part, 180)])
    first, second, third = group_near_copies(pictures, ["a", "b", "c"], 0.9, np.array([0, 1]))
    assert first == second != third


def test_parts_without_a_bore_are_compared_around_the_middle() -> None:
    rng = np.random.default_rng(0)
    one, other = (cv2.resize(rng.integers(60, 250, (30, 30), np.uint8), (300, 300)) for _ in range(2))
    first, second, third = groups_of(one, np.rot90(one).copy(), other)
    assert first == second != third
