"""What can go wrong in the trainer, beside ``edge_qc.errors``."""

from edge_qc.errors import EdgeQcError


class DataError(EdgeQcError):
    """The pictures, or the options that say which they are, cannot be trained on or judged."""


class BackendError(EdgeQcError):
    """A library that was asked for is not installed."""


class SpaceError(EdgeQcError):
    """The disk is full."""


class OutputError(EdgeQcError):
    """A file or a folder cannot be used."""


class ConversionError(EdgeQcError):
    """The network could not be turned into an int8 model that the device runs."""


class FittingError(EdgeQcError):
    """The network could not be fitted."""
