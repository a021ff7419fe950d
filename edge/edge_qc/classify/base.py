"""The port of classifiers."""

from typing import Protocol

from edge_qc.domain import Frame, Prediction


class Classifier(Protocol):
    """Turns a frame into a prediction. Deterministic: the same pixels give the same prediction."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        ...

    def classify(self, frame: Frame) -> Prediction:
        """The prediction of a frame of any size.

        Raises:
            ModelError: if the runtime fails.
            NoPartError: if there is no part in the frame that could be unwrapped.
        """
        ...
