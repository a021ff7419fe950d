"""What is kept: the port and its adapters."""
