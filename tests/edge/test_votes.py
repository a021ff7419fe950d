"""Several frames of a part: what they say together."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.bundle import SHIPPED, load_bundle
from edge_qc.capture.base import Shot
from edge_qc.capture.simulated_part import draw_part
from edge_qc.classify.litert import LiteRtClassifier, softmax
from edge_qc.deadline import DeadlineGuard
from edge_qc.decide import defect_score, vote
from edge_qc.domain import Frame, Inspection, Outcome, Part, Prediction, Unusable
from edge_qc.errors import ModelError
from edge_qc.inspector import Inspector
from edge_qc.quality import QualityGate
from edge_qc.record.evidence import Evidence
from edge_qc.record.recorder import Recorder
from edge_qc.record.store import Store
from edge_qc.sections import Quality, Record
from edge_qc.trigger.remote import RemoteTrigger
from fakes import LABELS, FakeCamera, FakeClassifier, frame, part
from support import draw_pictures, rows

OK = ("ok_front",)
DARK = np.full((64, 64), 3, np.uint8)


def _part(*frames: Frame, deadline_ms: float = 60_000) -> Part:
    return replace(part(deadline_ms=deadline_ms), frame=frames[0], others=frames[1:])


def _by_seq(scores: dict[int, float]) -> FakeClassifier:
    return FakeClassifier(lambda one: scores[one.seq])


def _inspector(classifier: FakeClassifier) -> Inspector:
    return Inspector(QualityGate(Quality()), classifier, OK, 0.3, 0.7)


logits = st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3)


@given(st.lists(logits, min_size=1, max_size=9))
def test_the_vote_is_the_softmax_of_the_mean_of_the_logits(each: list[list[float]]) -> None:
    of_frames = np.array(each, np.float32)
    labels = ("crack", "ok", "hole")
    voted = vote([Prediction(labels, softmax(one)) for one in of_frames], ("ok",))
    assert voted.probabilities == pytest.approx(softmax(of_frames.mean(axis=0)), abs=1e-5)
    assert voted.probabilities.dtype == np.float32


def test_a_vote_of_one_is_that_one_to_the_bit() -> None:
    alone = Prediction(LABELS, np.array([0.1, 0.9], np.float32))
    assert vote([alone], OK) is alone


def test_a_certain_frame_does_not_make_the_vote_undefined() -> None:
    certain = Prediction(LABELS, np.array([0.0, 1.0], np.float32))
    voted = vote([certain, Prediction(LABELS, np.array([1.0, 0.0], np.float32))], OK)
    assert voted.probabilities == pytest.approx([0.5, 0.5])


def test_one_frame_says_to_the_bit_what_the_model_says_of_it() -> None:
    bundle = load_bundle(SHIPPED)
    classifier = LiteRtClassifier(bundle)
    inspector = Inspector(lambda _: None, classifier, bundle.card.ok_labels, 0.3, 0.7)
    picture = draw_part(np.random.default_rng(3), defective=True).pixels
    _, prediction = inspector.inspect(_part(frame(picture)))
    alone = classifier.classify(frame(picture))
    classifier.classify(frame(draw_part(np.random.default_rng(4), defective=True).pixels))
    assert prediction is not None
    assert prediction.probabilities.tobytes() == alone.probabilities.tobytes()
    assert prediction.heatmap is not None
    assert alone.heatmap is not None
    assert prediction.heatmap.tobytes() == alone.heatmap.tobytes()


def test_two_sound_frames_outvote_one_that_errs() -> None:
    frames = [frame(seq=seq) for seq in (1, 2, 3)]
    verdict, prediction = _inspector(_by_seq({1: 0.75, 2: 0.05, 3: 0.05})).inspect(_part(*frames))
    assert verdict.outcome is Outcome.OK
    assert prediction is not None
    assert prediction.frame_index == 0  # the evidence shows what spoke for a defect


def test_frames_that_the_gate_refuses_have_no_vote() -> None:
    frames = [frame(DARK, seq=1), frame(seq=2), frame(seq=3)]
    verdict, prediction = _inspector(_by_seq({1: 0.0, 2: 0.8, 3: 0.9})).inspect(_part(*frames))
    assert verdict.outcome is Outcome.REJECT
    assert prediction is not None
    assert prediction.frame_index == 2
    assert defect_score(prediction, OK) == pytest.approx(0.857, abs=0.001)  # mean of the logits of 0.8 and 0.9


def test_a_part_without_a_fit_frame_is_not_inspected_for_the_best_frames_reason() -> None:
    frames = [frame(DARK, seq=1), frame(np.full((64, 64), 255, np.uint8), seq=2)]
    verdict, prediction = _inspector(FakeClassifier()).inspect(_part(*frames))
    assert (verdict.outcome, verdict.reason, prediction) == (Outcome.NOT_INSPECTED, "dark", None)


def test_a_model_that_fails_on_any_frame_is_a_model_fault() -> None:
    def fails_on_second(one: Frame) -> float:
        if one.seq == 2:
            raise ModelError("it broke")
        return 0.0

    verdict, _ = _inspector(FakeClassifier(fails_on_second)).inspect(_part(frame(seq=1), frame(seq=2)))
    assert (verdict.outcome, verdict.reason) == (Outcome.NOT_INSPECTED, "model_fault")


@given(st.integers(1, 9), st.integers(1, 200), st.integers(1, 500))
def test_votes_never_cost_a_part_its_deadline(votes: int, takes_ms: int, deadline_ms: int) -> None:
    """Each frame takes ``takes_ms``: the first is always judged, a further one only if it will be done in time."""
    judged: list[int] = []
    the_part = _part(*(frame(seq=seq) for seq in range(1, votes + 1)), deadline_ms=deadline_ms)

    def slow(one: Frame) -> float:
        judged.append(one.seq)
        return 0.0

    def clock() -> int:
        return the_part.triggered_ns + len(judged) * takes_ms * 1_000_000

    _, prediction = Inspector(lambda _: None, FakeClassifier(slow), OK, 0.3, 0.7, clock=clock).inspect(the_part)
    assert prediction is not None
    assert judged == list(range(1, len(judged) + 1))
    if len(judged) > 1:
        assert clock() < the_part.deadline_ns
    if votes > len(judged):
        assert clock() + 2 * takes_ms * 1_000_000 >= the_part.deadline_ns - deadline_ms * 1_000_000 // 4


def test_the_record_keeps_the_frame_that_spoke_for_the_defect(tmp_path: Path) -> None:
    pictures = [np.asarray(cv2.imread(str(path), 0), np.uint8) for path in draw_pictures(tmp_path / "in", 3)]
    made = _part(*(frame(one, seq=seq) for seq, one in enumerate(pictures)))
    verdict, prediction = _inspector(_by_seq({0: 0.7, 1: 0.95, 2: 0.8})).inspect(made)
    inspection = Inspection("abcd1234", made, verdict, prediction, made.triggered_ns + 1, made.triggered_at, "m-1")
    evidence = Evidence(tmp_path, Record(free_floor_mb=0))
    recorder = Recorder("abcd1234", Store(tmp_path), evidence, lambda _: None, lambda *_: None)
    recorder.start()
    recorder.put(inspection, "sent")
    recorder.stop()
    (row,) = rows(tmp_path)
    assert np.array_equal(cv2.imread(str(tmp_path / row["picture"]), 0), pictures[1])


def test_further_frames_without_a_first_are_refused() -> None:
    with pytest.raises(ValueError, match="no further frames without a first, got 1"):
        replace(part(fault=Unusable("unreadable", "no picture")), others=(frame(),))


MS = 1_000_000


def _frames_of(votes: int, triggers_ms: list[int], shots_ms: list[int], deadline_ms: int = 1000) -> list[list[int]]:
    """Of each part, when its frames were taken; the triggers all known before the first picture is read."""
    base_ns = 10**15
    now_ns = [base_ns]
    trigger = RemoteTrigger("fake", deadline_ms, DeadlineGuard(), votes=votes, clock=lambda: now_ns[0])
    for at_ms in triggers_ms:
        trigger.fire(at_ns=base_ns + at_ms * MS)

    class Camera(FakeCamera):
        def read(self, timeout_s: float) -> Shot | None:
            shot = super().read(timeout_s)
            if shot is not None and shot.frame is not None:
                now_ns[0] = shot.frame.captured_ns
            return shot

    shots = [Shot(replace(frame(), captured_ns=base_ns + at_ms * MS)) for at_ms in shots_ms]
    parts = [one for one in trigger.parts(Camera(*shots)) if one is not None]
    return [[(f.captured_ns - base_ns) // MS for f in one.frames] for one in parts]


def test_a_triggered_part_gets_its_next_frames() -> None:
    assert _frames_of(3, [10], [0, 20, 30, 40, 50]) == [[20, 30, 40]]


def test_a_frame_of_the_next_part_is_none_of_this_one() -> None:
    assert _frames_of(3, [10, 35], [0, 20, 30, 40, 50]) == [[20, 30], [40, 50]]


def test_frames_are_not_waited_for_beyond_half_the_time_to_the_deadline() -> None:
    assert _frames_of(9, [0], [100, 300, 600, 700], deadline_ms=1000) == [[100, 300, 600]]
