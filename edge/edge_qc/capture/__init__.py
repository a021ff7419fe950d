"""Pictures in: the port and its adapters."""
