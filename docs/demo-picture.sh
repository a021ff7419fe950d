#!/usr/bin/env bash
# Takes docs/demo.svg anew from the demo's real output, as a terminal shows it. Needs tmux, and edge-qc on the PATH.
set -euo pipefail
screen=$(mktemp)
trap 'rm -f "$screen"; tmux kill-session -t edge-qc-picture 2>/dev/null || true' EXIT
tmux new-session -d -s edge-qc-picture -x 80 -y 30 "edge-qc demo --parts 20; touch $screen.done; sleep 60"
for _ in $(seq 60); do [ -e "$screen.done" ] && break || sleep 1; done
rm "$screen.done"
tmux capture-pane -t edge-qc-picture -e -p >"$screen"
python3 - "$screen" "$(dirname "$0")/demo.svg" <<'PYTHON'
import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
console.print(Text.from_ansi(Path(sys.argv[1]).read_text().rstrip()))
console.save_svg(sys.argv[2], title="edge-qc demo")
PYTHON
