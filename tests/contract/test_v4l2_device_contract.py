"""What a V4L2 node must do, the kernel's own or the written one."""

import errno
from collections.abc import Iterator

import pytest

from edge_qc.capture.v4l2_device import BUFFERS, Buffer, Device
from edge_qc.capture.v4l2_profile import find
from fake_v4l2 import Bench
from support import wait_until

FRAME_S = 10.0  # the virtual machine has no KVM


@pytest.fixture
def device(bench: Bench) -> Iterator[Device]:
    opened = bench.open(bench.path)
    yield opened
    opened.close()


def _start(device: Device) -> None:
    pixel_format, sizes = next(iter(device.formats().items()))
    device.start(pixel_format, sizes[0].least, 30)


def _take(device: Device) -> Buffer:
    buffer = device.take(FRAME_S)
    assert buffer is not None
    return buffer


def test_it_says_what_it_is_and_what_it_has(device: Device) -> None:
    identity, formats = device.identity(), device.formats()
    assert identity.captures
    assert identity.driver
    for pixel_format, sizes in formats.items():
        assert len(pixel_format) == 4
        for size in sizes:
            assert size.hold(size.least)
            assert all(rate > 0 for rate in device.rates(pixel_format, size.least))


def test_what_is_granted_is_what_was_asked_for_where_it_has_it(device: Device) -> None:
    sizes = device.formats()["YUYV"]
    layout = device.start("YUYV", sizes[0].least, 30)
    assert (layout.pixel_format, layout.width_px, layout.height_px) == ("YUYV", *sizes[0].least)
    assert layout.line_bytes >= 2 * layout.width_px


def test_frames_are_numbered_and_stamped_one_after_the_other(device: Device) -> None:
    _start(device)
    numbers, stamps = [], []
    for _ in range(3 * BUFFERS):
        buffer = _take(device)
        assert not buffer.flawed
        numbers.append(buffer.sequence)
        stamps.append(buffer.kernel_ns)
        device.give_back(buffer)
    assert numbers == sorted(set(numbers))
    assert None not in stamps
    assert stamps == sorted(stamps)  # type: ignore[type-var]


def test_a_whole_picture_lies_in_the_buffer(device: Device) -> None:
    layout = device.start("YUYV", device.formats()["YUYV"][0].least, 30)
    buffer = _take(device)
    assert len(buffer.data) >= layout.line_bytes * layout.height_px
    device.give_back(buffer)


def test_the_wait_for_a_picture_has_a_bound(device: Device) -> None:
    _start(device)
    taken = [_take(device) for _ in range(BUFFERS)]
    assert device.take(0.05) is None, "every buffer is out"
    device.give_back(taken[0])
    assert device.take(FRAME_S) is not None


def test_a_control_is_read_back_as_it_was_set(device: Device) -> None:
    gain = find(device.controls(), "gain")
    assert gain is not None
    for value in (gain.least, gain.greatest, 77):
        device.set(gain, value)
        assert device.get(gain) == value


def test_every_value_of_a_control_is_in_its_range(device: Device) -> None:
    controls = device.controls()
    assert controls
    assert [c.name for c in controls if not c.takes(c.default)] == []


def test_two_cannot_capture_at_once(bench: Bench, device: Device) -> None:
    _start(device)
    second = bench.open(bench.path)
    with pytest.raises(OSError) as refused:  # noqa: PT011 - the number says it
        _start(second)
    assert refused.value.errno == errno.EBUSY
    second.close()


def test_it_may_be_closed_twice(device: Device) -> None:
    _start(device)
    device.close()
    device.close()


def test_a_camera_that_is_pulled_out_says_so_until_it_is_back(bench: Bench, device: Device) -> None:
    _start(device)
    bench.pull()

    def gone() -> bool:
        try:
            buffer = device.take(0.05)
            if buffer is not None:
                device.give_back(buffer)
        except OSError:
            return True
        return False

    wait_until(gone)
    device.close()
    with pytest.raises(OSError):  # noqa: PT011
        bench.open(bench.path)
    bench.put_back()
    again = bench.open(bench.path)
    _start(again)
    assert _take(again).data
    again.close()
