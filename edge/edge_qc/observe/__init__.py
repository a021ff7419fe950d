"""What a person or a supervisor sees: the port and its adapters."""
