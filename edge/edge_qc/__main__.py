"""``python -m edge_qc``."""

from edge_qc.cli import main

if __name__ == "__main__":  # a process that the benchmark starts loads this again
    main()
