"""What leaves for the PLC: the port and its adapters."""
