"""``python -m edge_qc_trainer``."""

from edge_qc_trainer.cli import main

main()
