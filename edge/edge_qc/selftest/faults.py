"""The table of faults, and the run over it."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from edge_qc import __version__
from edge_qc.errors import EdgeQcError
from edge_qc.selftest.faults_disk import DISK_FAULTS
from edge_qc.selftest.faults_link import LINK_FAULTS
from edge_qc.selftest.faults_process import PROCESS_FAULTS
from edge_qc.selftest.judge import Figure, MeansMissingError, Row
from edge_qc.selftest.rig import Bench

__all__ = ["FAULTS", "Bench", "run_faults", "summary"]

FAULTS: dict[str, tuple[str, Callable[[Bench], list[Figure]]]] = {**LINK_FAULTS, **PROCESS_FAULTS, **DISK_FAULTS}


def run_faults(bench: Bench, names: Sequence[str] = ()) -> Iterator[Row]:
    """Injects each fault in turn.

    Args:
        bench: in what form, and with which broker.
        names: which of ``FAULTS``; none for all.
    """
    for name in names or FAULTS:
        fault, measure = FAULTS[name]
        start_s = time.monotonic()
        figures: list[Figure] = []
        skipped = broke = ""
        try:
            figures = measure(bench)
        except MeansMissingError as missing:
            skipped = str(missing)
        except (EdgeQcError, OSError) as error:  # the station did not bear the fault, and that is what is told
            broke = f"{error}"
        yield Row(name, fault, tuple(figures), skipped, broke, round(time.monotonic() - start_s, 1))


def summary(bench: Bench, rows: Sequence[Row]) -> dict[str, Any]:
    """All that was measured, for ``--json``."""
    return {
        "version": __version__,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}",
        "broker": bench.broker_name,
        "quick": bench.quick,
        "rows": [{"status": row.status, **asdict(row)} for row in rows],
    }
