"""edge-qc-train: from labelled pictures to the bundle that the device runs.

The pipeline stands in ``pipeline.py``: read, group near copies, split, fit, quantize, judge with the device's own
code, report.
"""
