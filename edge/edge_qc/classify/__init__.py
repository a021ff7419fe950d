"""Model input -> prediction: the port and its adapters."""
