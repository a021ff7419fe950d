"""Every format that is read, as the kernel's own pattern generator fills it."""

from collections.abc import Iterator

import numpy as np
import pytest

from edge_qc.capture.v4l2_device import V4l2Device
from edge_qc.capture.v4l2_format import COMPRESSED, PREFERRED, luma
from edge_qc.domain import Pixels
from vivid import Vivid, vivid_path

SIZE = (640, 360)

pytestmark = pytest.mark.skipif(vivid_path() is None, reason="no virtual camera: tests/vm/run.sh boots one")


@pytest.fixture
def still() -> Iterator[Vivid]:
    """A picture that does not change: bars, without a clock in them."""
    vivid = Vivid()
    vivid.reset()
    vivid.freeze()
    yield vivid
    vivid.reset()


def _picture(vivid: Vivid, pixel_format: str) -> Pixels:
    device = V4l2Device(vivid.path)
    try:
        layout = device.start(pixel_format, SIZE, 30)
        buffer = device.take(30)
        assert buffer is not None
        pixels = luma(layout, buffer.data)
        device.give_back(buffer)
    finally:
        device.close()
    assert pixels is not None
    assert pixels.shape == (SIZE[1], SIZE[0])
    return pixels


def test_every_format_gives_the_same_gray_bars(still: Vivid) -> None:
    device = V4l2Device(still.path)
    had = device.formats()
    device.close()
    readable = [name for name in PREFERRED if name in had and name not in COMPRESSED]
    assert {"GREY", "YUYV", "UYVY", "NV12"} <= set(readable)
    bars = _picture(still, "YUYV").astype(float).ravel()
    assert bars.std() > 20
    likeness = {name: np.corrcoef(bars, _picture(still, name).astype(float).ravel())[0, 1] for name in readable}
    print(likeness)
    assert likeness.pop("GREY") > 0.95, "its luma is made from RGB by itself, not by way of YUV"
    assert min(likeness.values()) > 0.99
