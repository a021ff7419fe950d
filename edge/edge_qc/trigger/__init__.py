"""What says that a part is there: the port and its adapters."""
