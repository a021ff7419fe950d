"""Injects every fault of the selftest and writes docs/reliability.md: what was measured beside what must hold.

    python bench/reliability.py [--quick] [--json FILE]

`--json FILE` keeps the figures, or, where the file is there already, writes the page from it without a run.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
MARKS = {"ok": "holds", "short": "**falls short**", "skipped": "skipped"}
HEAD = """# What it bears

The command `edge-qc selftest` starts a broker, a virtual PLC and the real daemon on a simulated line, injects each of
these faults in turn, and exits with 1 if one falls short; `--only NAME` injects one, `--quick` takes three minutes
instead of a quarter of an hour, `--config FILE` goes through your own broker under topics of its own. The command
`python bench/reliability.py` makes this page.

{form}, {at}, on {machine}; broker: {broker}; edge-qc {version}.

| fault | | judged: measured (bound) | told |
| --- | --- | --- | --- |
"""
FOOT = """
How to read it:

- *live again*: from the end of the fault to the first part, captured after it, that the PLC acts on in time. *oldest
  part acted on*: its age when its message reached the PLC; what comes after the part window of 1 s is not acted on, and
  counted.
- *lost in result*: records in the database that no `result` message brought to a subscriber that the broker keeps a
  session for.
- *PLC faults after*: its time-out is 1 s after the last heartbeat; a tick of 0.1 s of its program comes on top.
- *p99*: age of the verdict at a subscriber. Its bound is 1.5 times that of the stretch before the fault, and at least
  20 ms: under that a figure says more about the machine's other work than about the disk.
- *seen by the PLC, killed before their record*: a verdict leaves before its record is on disk, since the disk may
  stall. Parts inspected in the last moments before a kill are known to the PLC alone.
- A read-only disk is injected inside the process, since the kernel does not remount under an open database; a slow one
  by holding the database's write lock for 2 s at a time.
- The clock is that of station and broker (libfaketime). The PLC's part window is not judged there: it reads the same
  machine's unstepped clock, where a wired PLC reads none.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, dest="kept")
    options = parser.parse_args()
    found = _load(options.kept) or _run(quick=options.quick)
    if options.kept is not None:
        options.kept.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(found), "utf-8")
    sys.exit(any(row["status"] == "short" for row in found["rows"]))


def _load(kept: Path | None) -> dict[str, Any] | None:
    return json.loads(kept.read_text("utf-8")) if kept is not None and kept.exists() else None


def _run(*, quick: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "edge_qc", "selftest", "--json", *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def page(found: dict[str, Any]) -> str:
    form = "Quick form" if found["quick"] else "Full form"
    head = HEAD.format(form=form, **{name: found[name] for name in ("at", "machine", "broker", "version")})
    return head + "".join(_line(row) for row in found["rows"]) + FOOT


def _line(row: dict[str, Any]) -> str:
    judged = "; ".join(_figure(f) for f in row["figures"] if f["bound"] and not _none(f))
    judged += "; none: " * any(map(_none, row["figures"])) + ", ".join(f["what"] for f in row["figures"] if _none(f))
    told = "; ".join(_figure(f) for f in row["figures"] if not f["bound"])
    broke = row["skipped"] or row["broke"]
    judged = "; ".join(text for text in (broke, judged) if text)
    return f"| {row['fault']} (`{row['name']}`) | {MARKS[row['status']]} | {judged} | {told} |\n"


def _none(figure: dict[str, Any]) -> bool:
    """Whether it is a count that must be 0 and is: those share one clause."""
    return bool(figure["bound"] == "none" and figure["holds"])


def _figure(figure: dict[str, Any]) -> str:
    unit = f" {figure['unit']}" if figure["unit"] else ""
    text = f"{figure['what']} {figure['measured']:g}{unit}" + (f" ({figure['bound']})" if figure["bound"] else "")
    return text if figure["holds"] else f"**{text}**"


if __name__ == "__main__":
    main()
