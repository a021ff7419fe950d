"""What the classifier makes of a model's outputs, whichever of them the card names."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edge_qc.bundle import SHIPPED, Bundle, Card, Input, Output, Outputs
from edge_qc.classify import litert
from edge_qc.classify.litert import LiteRtClassifier, softmax
from fakes import frame

LOGITS = np.array([[40, -10]], np.int8)
MAPS = np.full((1, 3, 3, 2), -60, np.int8)
MAPS[0, 1, 2] = 50, 0
SCALE = 0.1


class FakeInterpreter:
    """A runtime whose model says the same of every picture."""

    def __init__(self, said: list[np.ndarray]) -> None:
        self.seen, self._said = np.zeros((1, 32, 32, 1), np.int8), said

    def get_input_details(self) -> list[dict[str, Any]]:
        return [self._details(0, self.seen)]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [self._details(place, said) for place, said in enumerate(self._said, 1)]

    def _details(self, index: int, tensor: np.ndarray) -> dict[str, Any]:
        return {"index": index, "shape": tensor.shape, "dtype": np.int8, "quantization": (SCALE, 0)}

    def tensor(self, _: int) -> Any:
        return lambda: self.seen

    def get_tensor(self, index: int) -> np.ndarray:
        return self._said[index - 1].copy()

    def invoke(self) -> None:
        """The model says what it says."""


def _classifier(
    monkeypatch: pytest.MonkeyPatch, said: list[np.ndarray], *named: str, softness: float | None = None
) -> LiteRtClassifier:
    """A classifier of a model with these outputs, which the card names so; the temperature is 2."""
    monkeypatch.setattr(litert, "_load", lambda *_: FakeInterpreter(said))
    places = {len(one.shape): place for place, one in enumerate(said)}
    outputs = {
        name: Output(index=places[rank], shape=said[places[rank]].shape, scale=SCALE, zero_point=0)
        for name, rank in (("logits", 2), ("heatmap", 4))
        if name in named
    }
    card = Card(
        name="fake",
        version="1.0.0",
        labels=("hole", "ok"),
        ok_labels=("ok",),
        input=Input(height=32, width=32, scale=SCALE, zero_point=0),
        outputs=Outputs(**outputs, softness=softness),
        temperature=2.0,
    )
    return LiteRtClassifier(Bundle(SHIPPED, card, b""))


def test_logits_alone_are_read_and_there_is_no_heatmap(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = _classifier(monkeypatch, [LOGITS], "logits").classify(frame())
    assert prediction.probabilities == pytest.approx(softmax(np.array([4.0, -1.0]) / 2.0))
    assert prediction.heatmap is None


def test_logits_beside_a_map_decide_and_the_map_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = _classifier(monkeypatch, [MAPS, LOGITS], "logits", "heatmap").classify(frame())
    assert prediction.probabilities == pytest.approx(softmax(np.array([4.0, -1.0]) / 2.0))
    assert prediction.heatmap is not None
    assert np.unravel_index(int(prediction.heatmap.argmax()), (3, 3)) == (1, 2)
    assert prediction.heatmap[1, 2] == pytest.approx(1 / (1 + np.exp(-5 / 4)))  # halved, and over the temperature


def test_a_map_alone_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = _classifier(monkeypatch, [MAPS], "heatmap", softness=1.5).classify(frame())
    hole = 1.5 * np.log(8 * np.exp(-6 / 1.5) + np.exp(5 / 1.5))
    ok = 1.5 * np.log((8 * np.exp(-6 / 1.5) + 1) / 9)
    assert prediction.probabilities == pytest.approx(softmax(np.array([hole, ok]) / 2.0), abs=1e-5)
    assert prediction.heatmap is not None
    assert prediction.heatmap[1, 2] == pytest.approx(1 / (1 + np.exp(-5 / 3)), abs=1e-5)


@pytest.mark.parametrize("said", [{}, {"softness": 1.0}, {"heatmap": MAPS.shape}, {"heatmap": (1, 2), "softness": 1.0}])
def test_a_card_whose_outputs_do_not_say_the_classes_is_refused(said: dict[str, Any]) -> None:
    if "heatmap" in said:
        said = {**said, "heatmap": Output(index=0, shape=said["heatmap"], scale=SCALE, zero_point=0)}
    with pytest.raises(ValidationError, match="expected"):
        Outputs(**said)


def test_circles_need_a_ring() -> None:
    with pytest.raises(ValidationError, match="unwrap: ring"):
        Input(scale=SCALE, zero_point=0, normalisation="standardise-circles")


def test_the_model_is_given_what_the_card_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands that are the same all around are there for the one, and nothing is there for the other."""
    seen = {}
    bands = np.tile(np.repeat(np.arange(40, 200, 10, dtype=np.uint8)[:, None], 32, axis=1), (2, 1))
    for name in ("standardise", "standardise-circles"):
        classifier = _classifier(monkeypatch, [LOGITS], "logits")
        shape = classifier._card.input.model_copy(update={"normalisation": name})
        classifier._card = classifier._card.model_copy(update={"input": shape})
        classifier.invoke(bands)
        seen[name] = classifier._interpreter.seen.copy()
    assert np.ptp(seen["standardise"]) > 20
    assert np.ptp(seen["standardise-circles"]) == 0
