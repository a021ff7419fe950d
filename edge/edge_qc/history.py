"""`edge-qc history`: past inspections as a table, CSV or JSON."""

import csv
import json
import re
import sys
from datetime import UTC, datetime, timedelta

from edge_qc.assembly import data_dir
from edge_qc.config import Config
from edge_qc.domain import utc_text
from edge_qc.errors import ConfigError
from edge_qc.record.store import COLUMNS, Reader

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# What 80 columns hold, and how it is headed there.
_SHOWN = {
    "decided_at": "UTC",
    "part": "part",
    "verdict": "verdict",
    "reason": "reason",
    "score": "score",
    "latency_ms": "ms",
    "signalled": "signal",
}
_PIPE_COLUMNS = 200
_COLOURS = {"ok": "green", "reject": "red", "unsure": "yellow", "not_inspected": "magenta"}


def since_text(since: str | None) -> str | None:
    """An ISO 8601 time or an age (90s, 30m, 8h, 7d) as the records write times.

    Raises:
        ConfigError: if it is neither.
    """
    if since is None:
        return None
    age = re.fullmatch(r"(\d+)([smhd])", since)
    if age:
        return utc_text(datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])}))
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        fault = f"--since: expected 2026-01-31T08:00:00Z or an age such as 8h, got {since!r}"
        raise ConfigError([fault], where="options") from None
    return utc_text(at.replace(tzinfo=UTC) if at.tzinfo is None else at)


def print_history(config: Config, since: str | None, verdict: str | None, limit: int | None, form: str) -> int:
    """Prints past inspections on standard output; returns the exit status.

    Args:
        config: says where the records lie.
        since: as ``since_text`` gives it.
        verdict: one outcome, or None for all.
        limit: the newest so many, or None for all.
        form: ``table``, ``csv`` or ``json`` (one object a line).
    """
    reader = Reader(data_dir(config))
    rows = reader.history(since, verdict, limit)
    if form == "json":
        for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    else:
        _print_table(list(rows))
    reader.close()
    return 0


def _print_table(rows: list[dict[str, object]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - only tables need it
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for name, head in _SHOWN.items():
        table.add_column(head, no_wrap=name != "part", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(name, row[name]) for name in _SHOWN), style=_COLOURS.get(str(row["verdict"]), ""))
    Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(table)


def _cell(name: str, value: object) -> str:
    if name == "decided_at":
        return str(value)[5:19].replace("T", " ")
    if isinstance(value, float):
        return f"{value:.3f}" if name == "score" else f"{value:.1f}"
    return "" if value is None else str(value)
