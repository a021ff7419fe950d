"""Reading pictures: whole ones, and every kind of bad one."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.errors import PictureError
from edge_qc.picture import decode, read_picture
from support import huge_png


def _encoded(suffix: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
    return cv2.imencode(suffix, cv2.GaussianBlur(pixels, (0, 0), 2))[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_whole_pictures_are_read_in_gray(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(_encoded(suffix))
    pixels = read_picture(path)
    assert (pixels.shape, pixels.dtype) == ((60, 80), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused(suffix: str, share: float) -> None:
    data = _encoded(suffix)
    with pytest.raises(PictureError):
        decode(data[: int(len(data) * share)], "cut")


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(PictureError, match="is empty"):
        read_picture(tmp_path / "a.png")


def test_a_picture_over_50_megapixels_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(PictureError, match="at most 50 megapixels"):
        decode(huge_png(), "huge.png")


@given(st.binary(max_size=300), st.integers(0, 200))
def test_whatever_the_bytes_the_answer_is_a_picture_or_a_reason(junk: bytes, at: int) -> None:
    data = _encoded(".png")
    for candidate in (junk, data[:at] + junk + data[at + len(junk) :]):
        try:
            said, dimensions = "x", decode(candidate, "x").ndim
        except PictureError as error:
            said, dimensions = str(error), 2
        assert "x" in said
        assert dimensions == 2
