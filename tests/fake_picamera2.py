"""picamera2's object as far as the adapter uses it, with a camera behind it."""

import threading
import time
from typing import Any

import numpy as np

STRIDE_GAP = 32


class _Request:
    def __init__(self, metadata: dict[str, Any], data: Any) -> None:
        self._metadata, self._data = metadata, data
        self.released = False

    def get_metadata(self) -> dict[str, Any]:
        return self._metadata

    def make_buffer(self, name: str) -> Any:
        assert name == "main"
        return self._data

    def release(self) -> None:
        self.released = True


class FakePicamera2:
    """A camera at 200 Hz."""

    def __init__(self, number: int = 0) -> None:
        if number:
            raise IndexError("list index out of range")
        self.camera_controls = {
            "ExposureTime": (29, 1_000_000, 20_000),
            "AnalogueGain": (1.0, 16.0, 1.0),
            "AeEnable": (False, True, True),
        }
        self.configured: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.requests: list[_Request] = []
        self.news = threading.Condition()
        self.silent = self.stuck = self.closed = False
        self._noise = np.random.default_rng(1)
        self._due_s = 0.0

    def create_video_configuration(self, **asked: Any) -> dict[str, Any]:
        return asked

    def configure(self, asked: dict[str, Any]) -> None:
        width, _ = asked["main"]["size"]
        self.configured = asked | {"main": asked["main"] | {"stride": width + STRIDE_GAP}}

    def camera_configuration(self) -> dict[str, Any]:
        return self.configured

    def start(self) -> None:
        self._due_s = time.monotonic()

    def capture_request(self, *, wait: bool) -> object:
        assert not wait
        return object()

    def wait(self, job: object, timeout: float) -> _Request:
        until_s = time.monotonic() + timeout
        with self.news:
            while self.silent or time.monotonic() < self._due_s:
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError
                self.news.wait(left_s if self.silent else min(left_s, max(0.0, self._due_s - time.monotonic())))
        self._due_s += 0.005
        main = self.configured["main"]
        noise = np.random.default_rng(1) if self.stuck else self._noise
        data = noise.integers(0, 256, main["size"][1] * main["stride"] * 3 // 2, np.uint8)
        said = {name: value for name, value in self.configured["controls"].items() if name in self.camera_controls}
        self.requests.append(_Request({"SensorTimestamp": time.monotonic_ns()} | said | self.metadata, data))
        return self.requests[-1]

    def close(self) -> None:
        self.closed = True
