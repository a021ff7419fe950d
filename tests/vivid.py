"""The kernel's virtual camera, where there is one (tests/vm/run.sh boots a machine that has it)."""

import os
import shutil
import subprocess
from pathlib import Path

from edge_qc.capture.v4l2_device import Control, V4l2Device
from edge_qc.capture.v4l2_profile import find


def vivid_path() -> str | None:
    """The node that captures, of the first virtual camera; None where there is none."""
    for name in sorted(Path("/sys/class/video4linux").glob("video*/name")):
        if name.read_text().startswith("vivid") and "vid-cap" in name.read_text():
            return f"/dev/{name.parent.name}"
    return None


class Vivid:
    """What can be done to it from outside."""

    def __init__(self) -> None:
        path = vivid_path()
        assert path, "modprobe vivid n_devs=1"
        self.path = path
        self._held: int | None = None

    def open(self, path: str) -> V4l2Device:
        return V4l2Device(path)

    def change(self, **controls: int) -> None:
        """Sets controls and pushes buttons, by v4l2-ctl's names."""
        tool = shutil.which("v4l2-ctl")
        assert tool, "apt-get install v4l-utils"
        settings = ",".join(f"{name}={value}" for name, value in controls.items())
        subprocess.run([tool, "-d", self.path, "--set-ctrl", settings], check=True, timeout=30)

    def control(self, name: str) -> Control:
        device = self.open(self.path)
        try:
            found = find(device.controls(), name)
        finally:
            device.close()
        assert found, name
        return found

    def pull(self) -> None:
        """Gone for as long as somebody holds the node: vivid plugs itself in again with the last one's close."""
        self._held = os.open(self.path, os.O_RDWR)
        self.change(disconnect=1)

    def put_back(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def turn(self, name: str, value: int) -> None:
        self.change(**{name: value})

    def spoil_next(self) -> None:
        self.change(inject_v4l2_buf_flag_error=1)

    def freeze(self) -> None:
        """A still picture without a clock in it."""
        self.change(osd_text_mode=2)

    def fall_silent(self) -> None:
        self.change(percentage_of_dropped_buffers=100)

    def near_the_wrap(self) -> None:
        """128 frames before the count of frames begins anew, from the next start on."""
        self.change(wrap_sequence_number=1)

    def reset(self) -> None:
        """As after modprobe."""
        self.put_back()
        self.change(osd_text_mode=0, percentage_of_dropped_buffers=0, wrap_sequence_number=0)
        self.change(gain_automatic=0, gain=100)
