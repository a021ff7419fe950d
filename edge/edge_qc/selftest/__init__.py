"""`edge-qc selftest`: the faults of the promise, injected one by one into a real station, broker and virtual PLC."""
