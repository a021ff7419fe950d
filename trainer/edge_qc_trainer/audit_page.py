"""The audit for people and programs: a table in the terminal, JSON, and one page that needs nothing beside it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import cycle
from typing import Any

import numpy as np

from edge_qc.errors import PictureError
from edge_qc.picture import read_picture
from edge_qc_trainer.audit import Audit
from edge_qc_trainer.audit_checks import Finding, Item
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.confounds import Confound
from edge_qc_trainer.dataset import GOOD_PREFIXES, fingerprint_of
from edge_qc_trainer.report import render
from edge_qc_trainer.report_pictures import data_uri, shrunk
from edge_qc_trainer.report_plots import DEFECTIVE, GOOD

_ITEMS, _SHOWN = 12, 7  # of a finding, and thumbnails of each: the JSON has them all
_THUMBNAIL_PX, _QUALITY = 112, 72
_BINS, _WIDE, _HIGH = 32, 320, 84
# By role, as in the report; further classes of either in further colours of Okabe and Ito.
_GOOD, _DEFECTIVE = (GOOD, "#56b4e9", "#009e73"), (DEFECTIVE, "#e69f00", "#cc79a7", "#222222")
_UNITS = {
    "brightness": "grey levels",
    "contrast": "grey levels",
    "file size": "bytes",
    "picture size": "pixels",
    "background": "score of a small classifier",
}
_STYLES = {"serious": "bold red", "note": "yellow", "clean": "green"}


@dataclass(frozen=True, slots=True)
class Shown:
    """An item on the page: its caption, thumbnails as data URIs with the files' names, and how many are left out."""

    caption: str
    thumbnails: tuple[tuple[str, str], ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """How a confound is spread in each class: the lines of an SVG of 320 x 84, each with its dashes; and its axis."""

    lines: tuple[tuple[str, str, str, str], ...]
    title: str
    low: str
    high: str


def print_table(audit: Audit) -> None:
    """The verdicts on standard output, and what to do about each."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "level", "what was found", show_lines=True)
    for finding in audit.findings:
        what = escape(finding.said) + (f"\n[dim]{escape(finding.remedy)}[/dim]" if finding.remedy else "")
        table.add_row(finding.check, f"[{_STYLES[finding.level]}]{finding.level}", what)
    console = Console()
    console.print(table)
    console.print(f"[bold]{verdict(audit)}[/bold]")


def verdict(audit: Audit) -> str:
    """All of it in one or two sentences."""
    counted = f"{audit.count('serious')} serious, {audit.count('note')} to note, {audit.count('clean')} clean"
    said = (
        "Do not trust figures measured on these pictures before the serious findings are settled."
        if audit.count("serious")
        else "Nothing serious was found."
    )
    return f"{counted}. {said}"


def as_json(audit: Audit) -> dict[str, Any]:
    """Everything that was found, with the paths of all pictures concerned."""
    evidence = audit.evidence
    return {
        "n": len(evidence.pictures),
        "labels": list(audit.labels),
        "parts": len(np.unique(evidence.groups)),
        "fingerprint": audit.fingerprint,
        "threshold": audit.threshold,
        "seconds": round(audit.seconds, 1),
        "verdict": verdict(audit),
        "serious": audit.count("serious"),
        "sets": sets_of(audit),
        "findings": [_finding_json(finding) for finding in audit.findings],
        "confounds": [_confound_json(confound) for confound in evidence.confounds],
        "groups": [[str(p.file.path) for p in pictures] for pictures in evidence.by_group() if len(pictures) > 1],
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    items = [{"caption": item.caption, "paths": [str(path) for path in item.paths]} for item in finding.items]
    named = ("check", "level", "count", "said", "meaning", "remedy")
    return {**{name: getattr(finding, name) for name in named}, "items": items}


def _confound_json(confound: Confound) -> dict[str, Any]:
    return {
        "name": confound.name,
        "label": confound.label,
        "auc_pictures": round(confound.auc_pictures, 4),
        "auc_parts": round(confound.auc_parts, 4),
        "ci95": [round(end, 4) for end in confound.ci95],
        "parts": list(confound.parts),
        "folds": confound.folds,
    }


def sets_of(audit: Audit) -> list[dict[str, Any]]:
    """Pictures and parts of each class in each set, and the fingerprint of the set, as ``fit`` makes it."""
    rows = []
    for source, one in enumerate(audit.evidence.sets):
        members = [place for place, p in enumerate(audit.evidence.pictures) if p.file.source == source]
        labels = [audit.evidence.pictures[place].file.label for place in members]
        hashes = [audit.evidence.pictures[place].file_hash for place in members]
        parts = {(label, int(audit.evidence.groups[place])) for label, place in zip(labels, members, strict=True)}
        pictures, of_parts = Counter(labels), Counter(label for label, _ in parts)
        broken = Counter(b.file.label for b in audit.evidence.broken if b.file.source == source)
        rows += [
            {
                "set": one.name,
                "path": str(one.path),
                "label": label,
                "pictures": pictures[label],
                "parts": of_parts[label],
                "broken": broken[label],
                "fingerprint": fingerprint_of(hashes),
            }
            for label in sorted({file.label for file in one.files})
        ]
    return rows


def page(audit: Audit, command: str) -> str:
    """One HTML page with thumbnails of each finding, which needs nothing beside it.

    Args:
        audit: what was found.
        command: as it was typed.
    """
    evidence = audit.evidence
    colours = _colours(audit.labels)
    return render(
        "audit.html.j2",
        audit=audit,
        title=_title(audit),
        verdict=verdict(audit),
        sets=sets_of(audit),
        parts=len(np.unique(evidence.groups)),
        shown={finding.check: [_shown(item) for item in finding.items[:_ITEMS]] for finding in audit.findings},
        fit_threshold=Recipe().group_threshold,
        histograms={f"{c.name} alone": _histogram(c, audit, colours) for c in evidence.confounds},
        averages=_averages(audit),
        command=command,
        version=version("edge-qc"),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each class, by whether its name says that it is good."""
    good, defective = cycle(_GOOD), cycle(_DEFECTIVE)
    return {label: next(good if label.lower().startswith(GOOD_PREFIXES) else defective) for label in labels}


def _title(audit: Audit) -> str:
    names = [one.path.parent.name if one.name in {"train", "test"} else one.name for one in audit.evidence.sets]
    return " against ".join(dict.fromkeys(names))


def _shown(item: Item) -> Shown:
    thumbnails = []
    for path in item.paths[:_SHOWN]:
        try:
            picture = data_uri(shrunk(read_picture(path), _THUMBNAIL_PX), _QUALITY)
        except (PictureError, OSError):
            picture = ""
        thumbnails.append((picture, f"{path.parent.name}/{path.name}"))
    return Shown(item.caption, tuple(thumbnails), max(0, len(item.paths) - _SHOWN))


def _averages(audit: Audit) -> list[tuple[str, str]]:
    """The average picture of each class, every part alike: background and light show where the part blurs."""
    found = []
    places = audit.evidence.audited
    labels = np.array([audit.evidence.pictures[place].file.label for place in places])
    for label in audit.labels:
        of_class = places[labels == label]
        if len(of_class):
            _, part, copies = np.unique(audit.evidence.groups[of_class], return_inverse=True, return_counts=True)
            small = np.stack([audit.evidence.pictures[place].small for place in of_class])
            mean = np.average(small, axis=0, weights=1 / copies[part])
            found.append((label, data_uri(np.asarray(np.rint(mean), np.uint8), _QUALITY)))
    return found


def _histogram(confound: Confound, audit: Audit, colours: dict[str, str]) -> Histogram:
    """A line for each class, each of the same area, so that a rare class shows as well as a common one."""
    labels = np.array([audit.evidence.pictures[place].file.label for place in audit.evidence.audited])
    # Without the outermost, one of which would press all the others into a corner.
    low, high = (float(end) for end in np.quantile(confound.values, (0.005, 0.995)))
    counted = {}
    for label in audit.labels:
        values = np.clip(confound.values[labels == label], low, high)
        if len(values):
            counted[label] = np.histogram(values, _BINS, (low, high if high > low else low + 1))[0] / len(values)
    top = max(float(shares.max()) for shares in counted.values())
    dashes = {label: "" if colours[label] in _GOOD else "5 3" for label in counted}
    lines = tuple((label, colours[label], dashes[label], _steps(shares / top)) for label, shares in counted.items())
    low_text, high_text = (f"{end:,.0f}" if high >= 1000 else f"{end:.3g}" for end in (low, high))
    return Histogram(lines, f"{confound.name}, {_UNITS[confound.name]}", low_text, high_text)


def _steps(heights: np.ndarray) -> str:
    """The path of an SVG: a step for each bin, from the ground and back to it."""
    across = _WIDE / len(heights)
    steps = "".join(f"V{_HIGH - height * (_HIGH - 4):.1f}H{(i + 1) * across:.1f}" for i, height in enumerate(heights))
    return f"M0 {_HIGH}{steps}V{_HIGH}Z"
