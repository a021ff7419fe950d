"""What can go wrong: one root, one child per stage."""

from collections.abc import Sequence


class EdgeQcError(Exception):
    """A fault that a person can act on.

    Args:
        what: what was being done, or what is wrong.
        expected: what would have been right.
        got: what was found instead.
        remedy: what the reader can do about it.
    """

    def __init__(self, what: str, *, expected: str = "", got: str = "", remedy: str = "") -> None:
        self.what, self.expected, self.got, self.remedy = what, expected, got, remedy
        parts = [what]
        parts += [f"{name} {text}" for name, text in (("expected", expected), ("got", got)) if text]
        super().__init__("; ".join(parts) + (f". {remedy}" if remedy else ""))


class ConfigError(EdgeQcError):
    """Faults of the configuration, all of them at once, a line each."""

    def __init__(self, faults: Sequence[str], *, where: str) -> None:
        self.faults = tuple(faults)
        self.where = where
        Exception.__init__(self, "\n".join(self.faults))


class CaptureError(EdgeQcError):
    """The source cannot be opened or has stopped giving pictures."""


class PictureError(EdgeQcError):
    """One picture cannot be read; the source is well."""


class NoPartError(PictureError):
    """No part is to be seen in a picture that is well otherwise."""


class BundleError(EdgeQcError):
    """A model bundle is incomplete, altered, or does not say what its model is."""


class ModelError(EdgeQcError):
    """The runtime refuses the model or fails while it runs."""


class SignalError(EdgeQcError):
    """The way to the PLC is set up wrongly."""


class RecordError(EdgeQcError):
    """The record of inspections cannot be kept."""
