"""``python -m edge_qc``."""

from edge_qc.cli import main

main()
