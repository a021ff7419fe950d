"""What many tests share."""

import edge_qc  # noqa: F401 - before OpenCV, which reads its limits once

# isort: split

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support import Mosquitto

# No deadline for one example: machines that test are busy. pytest's own time-out stops what hangs.
settings.register_profile("edge-qc", deadline=None, max_examples=50)
settings.load_profile("edge-qc")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real Mosquitto that lets everybody in."""
    with Mosquitto(tmp_path, "allow_anonymous true") as running:
        yield running
