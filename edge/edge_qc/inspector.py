"""THE SPINE: part -> gate -> preprocess -> classify -> decide -> verdict. Pure: no I/O, no clock, no thread."""

from collections.abc import Callable, Sequence

from edge_qc.classify.base import Classifier
from edge_qc.decide import decide
from edge_qc.domain import Frame, Part, Prediction, Verdict
from edge_qc.errors import ModelError
from edge_qc.quality import QualityFault

Gate = Callable[[Frame], QualityFault | None]


class Inspector:
    """Judges parts.

    Args:
        gate: says what makes a frame unfit to be judged, or None.
        classifier: gives the class probabilities.
        ok_labels: the classes that are good.
        ok_below: score under which a part is ok, 0 to 1.
        reject_from: score from which it is rejected, ``ok_below`` to 1.
    """

    def __init__(
        self, gate: Gate, classifier: Classifier, ok_labels: Sequence[str], ok_below: float, reject_from: float
    ) -> None:
        self._gate, self._classifier = gate, classifier
        self._ok_labels, self._ok_below, self._reject_from = tuple(ok_labels), ok_below, reject_from

    def inspect(self, part: Part) -> tuple[Verdict, Prediction | None]:
        """The verdict of a part, and the prediction it rests on (None where the model was not asked).

        Never raises for what is wrong with a part or a model: that is a ``not_inspected`` with its reason.
        """
        if part.fault is not None or part.frame is None:
            fault = part.fault
            return Verdict.not_inspected(fault.reason if fault else "no_frame", fault.detail if fault else ""), None
        unfit = self._gate(part.frame)
        if unfit is not None:
            return Verdict.not_inspected(unfit.reason, unfit.detail), None
        try:
            prediction = self._classifier.classify(part.frame)
        except ModelError as error:
            return Verdict.not_inspected("model_fault", str(error)), None
        return decide(prediction, self._ok_labels, self._ok_below, self._reject_from), prediction
