"""What was measured and whether it holds: pure, so that the judge itself can be tested."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from edge_qc.virtual_plc_logic import Action

Key = tuple[str, int]
Said = Mapping[str, Any]
ACTED = ("passed", "rejected")


class MeansMissingError(Exception):
    """This machine lacks what the fault is injected with; the row is skipped, and says why."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value beside its bound.

    Attributes:
        what: what was measured.
        measured: the value, rounded as it is shown.
        unit: of the value; may be empty.
        bound: what it must be, in words; empty where it is told and not judged.
        holds: whether it is within the bound.
    """

    what: str
    measured: float
    unit: str = ""
    bound: str = ""
    holds: bool = True

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        bound = f" ({'' if self.holds else 'NOT '}{self.bound})" if self.bound else ""
        return f"{self.what} {self.measured:g}{unit}{bound}"

    def row(self) -> str:
        """The figure as a row of a Markdown table: what, measured, bound, whether it holds."""
        unit = f" {self.unit}" if self.unit else ""
        holds = "" if not self.bound else "holds" if self.holds else "**falls short**"
        return f"| {self.what} | {self.measured:.9g}{unit} | {self.bound} | {holds} |\n"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: what ``--only`` calls it.
        fault: what was injected.
        figures: what was measured.
        skipped: what is missing on this machine; empty where the fault was injected.
        broke: why nothing could be measured; such a row falls short.
        took_s: seconds.
    """

    name: str
    fault: str
    figures: tuple[Figure, ...] = ()
    skipped: str = ""
    broke: str = ""
    took_s: float = 0.0

    @property
    def status(self) -> Literal["ok", "short", "skipped"]:
        """``ok`` only if something was judged and all of it holds."""
        if self.skipped:
            return "skipped"
        judged = any(figure.bound for figure in self.figures)
        return "ok" if judged and not self.broke and all(figure.holds for figure in self.figures) else "short"

    def __str__(self) -> str:
        if self.skipped:
            return f"skipped {self.name}: {self.skipped}"
        said = [str(figure) for figure in sorted(self.figures, key=lambda figure: figure.holds)]
        said += [f"could not be measured: {self.broke}"] if self.broke else []
        return f"{'ok' if self.status == 'ok' else 'SHORT':7} {self.name}: {'; '.join(said)}"


def at_most(what: str, value: float, bound: float, unit: str = "", digits: int = 2) -> Figure:
    """A value with an upper bound."""
    return Figure(what, round(value, digits), unit, f"at most {bound:g}", holds=value <= bound)


def none_of(what: str, found: int) -> Figure:
    """A count that must be 0."""
    return Figure(what, found, "", "none", holds=found == 0)


def some(what: str, found: int) -> Figure:
    """A count that must not be 0: without it the other figures would say nothing."""
    return Figure(what, found, "", "some", holds=found > 0)


def key(said: Said) -> Key:
    """What a message or a record is known by."""
    return said["session"], said["seq"]


def p99(values: Iterable[float]) -> float:
    """The nearest-rank 99th percentile; 0 of nothing."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(0.99 * len(ranked)))] if ranked else 0.0


def results(records: Sequence[Said], forwarded: Sequence[Said]) -> list[Figure]:
    """Whether every record was forwarded, as it is, and in order. At least once: doubles are told.

    Args:
        records: rows of the database, in their order.
        forwarded: payloads of ``result``, in the order of arrival.
    """
    first: dict[Key, Said] = {}
    for said in forwarded:
        first.setdefault(key(said), said)
    rank = {key(record): i for i, record in enumerate(records)}
    ranks = [rank[k] for k in first if k in rank]
    return [
        some("records", len(records)),
        none_of("lost in result", sum(k not in first for k in rank)),
        none_of("out of order", sum(b < a for a, b in pairwise(ranks))),
        none_of("unlike their record", sum(not _same(r, first.get(key(r), r)) for r in records)),
        Figure("results sent again", len(forwarded) - len(first)),
    ]


def actuations(records: Sequence[Said], actions: Sequence[Action], window_ms: float) -> list[Figure]:
    """Whether the PLC acted once, in time and on the right part.

    Args:
        records: rows of the database.
        actions: what the PLC did.
        window_ms: the part window.
    """
    by_key = {key(record): record for record in records}
    acted = [action for action in actions if action.did in ACTED]
    keys = [(action.session, action.seq) for action in acted]
    wrong = sum(not _fits(action, by_key.get((action.session, action.seq))) for action in acted)
    return [
        some("parts acted on", len(acted)),
        none_of("acted on twice", len(keys) - len(set(keys))),
        none_of("on the wrong part", wrong),
        at_most("oldest part acted on", max((abs(action.age_ms) for action in acted), default=0), window_ms, "ms", 0),
    ]


def unaccounted(recorded: Iterable[Key], seen: Iterable[Key]) -> list[Figure]:
    """Whether each number of each session is on record, or was at least seen by the PLC.

    Args:
        recorded: keys in the database.
        seen: keys of ``verdict`` messages.
    """
    on_record, heard = set(recorded), set(seen)
    known = on_record | heard
    top: dict[str, int] = {}
    for session, seq in known:
        top[session] = max(seq, top.get(session, 0))
    return [
        none_of("gaps unaccounted for", sum(top.values()) - len(known)),
        Figure("seen by the PLC, killed before their record", len(heard - on_record)),
    ]


def gaps(records: Iterable[Said]) -> int:
    """How many numbers are missing between 1 and the last of each session."""
    keys = {key(record) for record in records}
    top: dict[str, int] = {}
    for session, seq in keys:
        top[session] = max(seq, top.get(session, 0))
    return sum(top.values()) - len(keys)


def longest_gap_s(times_s: Sequence[float]) -> float:
    """The longest time between two of a series; 0 of fewer than two."""
    return max((b - a for a, b in pairwise(times_s)), default=0.0)


def _same(record: Said, said: Said) -> bool:
    return all(record[name] == said.get(name) for name in ("part", "verdict", "reason", "captured_at"))


def _fits(action: Action, record: Said | None) -> bool:
    """Whether the PLC did what the record says of this part; a part without record cannot be the wrong one."""
    if record is None:
        return True
    return bool(action.part == record["part"] and action.verdict == record["verdict"])


def parse(payload: bytes | bytearray) -> Said | None:
    """The object in a payload; None where there is none."""
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
