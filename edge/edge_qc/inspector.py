"""THE SPINE: part -> preprocess -> gate -> classify -> decide -> verdict. Pure: no I/O, no thread.

A clock is looked at only between the frames of a part that has several, so that votes never cost a part its deadline.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from edge_qc.classify.base import Classifier
from edge_qc.decide import decide, vote
from edge_qc.domain import Frame, Part, Prediction, Verdict
from edge_qc.errors import ModelError, NoPartError, PictureError
from edge_qc.preprocess import lay_over
from edge_qc.quality import QualityFault

Gate = Callable[[Frame], QualityFault | None]
Fit = Callable[[Frame], Frame]


class Inspector:
    """Judges parts.

    Args:
        gate: says what makes a frame unfit to be judged, or None.
        classifier: gives the class probabilities.
        ok_labels: the classes that are good.
        ok_below: score under which a part is ok, 0 to 1.
        reject_from: score from which it is rejected, ``ok_below`` to 1.
        fit: brings a frame to the model's size, once for gate and model; raises ``PictureError`` where it cannot.
        clock: monotonic nanoseconds.
    """

    def __init__(
        self,
        gate: Gate,
        classifier: Classifier,
        ok_labels: Sequence[str],
        ok_below: float,
        reject_from: float,
        *,
        fit: Fit = lambda frame: frame,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._fit, self._gate, self._classifier, self._clock = fit, gate, classifier, clock
        self._ok_labels, self._ok_below, self._reject_from = tuple(ok_labels), ok_below, reject_from

    def inspect(self, part: Part) -> tuple[Verdict, Prediction | None]:
        """The verdict of a part, and the prediction it rests on (None where the model was not asked).

        Of a part with several frames, those that the gate lets through vote, the best first, for as long as its
        deadline allows. Never raises for what is wrong with a part or a model: that is a ``not_inspected`` with its
        reason.
        """
        if part.fault is not None or part.frame is None:
            fault = part.fault
            return Verdict.not_inspected(fault.reason if fault else "no_frame", fault.detail if fault else ""), None
        try:
            predictions, unfit = self._predictions(part)
        except ModelError as error:
            return Verdict.not_inspected("model_fault", str(error)), None
        if not predictions:
            return Verdict.not_inspected(unfit[0].reason, unfit[0].detail), None
        voted = vote(predictions, self._ok_labels)
        return decide(voted, self._ok_labels, self._ok_below, self._reject_from), voted

    def _predictions(self, part: Part) -> tuple[list[Prediction], list[QualityFault]]:
        """What is said of each frame that is fit, for as long as there is time; and what is wrong with the others."""
        predictions: list[Prediction] = []
        unfit: list[QualityFault] = []
        began_ns = self._clock() if part.others else 0
        for index, frame in enumerate(part.frames):
            if predictions and not self._time_for_another(part, index, began_ns):
                break
            said = self._judge(frame)
            if isinstance(said, QualityFault):
                unfit.append(said)
            else:
                predictions.append(replace(said, frame_index=index) if index else said)
        return predictions, unfit

    def _judge(self, frame: Frame) -> Prediction | QualityFault:
        """What the model says of a frame, or what makes it unfit to be judged."""
        try:
            fitted = self._fit(frame)
            return self._gate(fitted) or _over_the_frame(self._classifier.classify(fitted), fitted, frame)
        except NoPartError as error:
            return QualityFault("missing", str(error))
        except PictureError as error:
            return QualityFault("region", str(error))

    def _time_for_another(self, part: Part, done: int, began_ns: int) -> bool:
        """Whether one more frame, at twice what each took so far, leaves a quarter of the part's time for the rest."""
        now_ns = self._clock()
        leave_ns = (part.deadline_ns - part.triggered_ns) // 4
        return now_ns + 2 * (now_ns - began_ns) // done + leave_ns < part.deadline_ns


def _over_the_frame(prediction: Prediction, fitted: Frame, frame: Frame) -> Prediction:
    """The prediction with its heatmap over the whole frame, which is what is kept and shown."""
    draw, window = prediction.draw_heatmap, fitted.window
    if draw is None or window is None:
        return prediction
    rows, columns = frame.pixels.shape
    return replace(prediction, draw_heatmap=lambda: lay_over(draw(), window, rows, columns))
