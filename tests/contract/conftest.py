"""The cameras on a bench: the written one, and the kernel's virtual one where there is one (tests/vm/run.sh)."""

from collections.abc import Iterator

import pytest

from fake_v4l2 import Bench, Plug
from vivid import Vivid, vivid_path

BENCHES = ["fake", *(["vivid"] if vivid_path() else [])]


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "fake":
        yield Plug()
        return
    vivid = Vivid()
    vivid.reset()
    yield vivid
    vivid.reset()
