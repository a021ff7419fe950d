"""The network's head: each place speaks for itself, and the device sees the same in int8 steps that are small."""

from typing import Any

import numpy as np
import pytest

from edge_qc.classify.litert import softmax
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.fit import import_keras
from edge_qc_trainer.network import ABOVE, BELOW, MAPS, MAPS_TEMPERATURE, RAW_MAPS, build, for_device, for_training

GOOD = np.array([False, True])
RECIPE = Recipe(size=32, layers=((8, 3, 2), (8, 3, 2)), dropout=0)


def _network(good: np.ndarray, loudness: float) -> Any:
    """A network with random weights, whose maps are as loud as that."""
    import_keras().utils.set_random_seed(1)
    model = build(RECIPE, good)
    kernel, bias = model.get_layer(RAW_MAPS).get_weights()
    model.get_layer(RAW_MAPS).set_weights([kernel * loudness, bias])
    return model


def _pictures() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((20, 32, 32, 1)).astype(np.float32)


def test_the_logit_of_a_class_is_the_loudest_of_its_places() -> None:
    logits, maps = for_training(_network(GOOD, 1)).predict_on_batch(_pictures())
    assert logits == pytest.approx(maps.max(axis=(1, 2)), abs=1e-5)


@pytest.mark.parametrize("good", [(False, True), (False, True, False), (True, False, True)])
def test_evidence_is_counted_from_that_for_the_good_classes(good: tuple[bool, ...]) -> None:
    flags = np.array(good)
    maps = for_training(_network(flags, 1)).predict_on_batch(_pictures())[1]
    assert maps[..., flags].mean(axis=-1) == pytest.approx(0, abs=1e-5)
    assert np.abs(maps[..., ~flags]).max() > 0.1


@pytest.mark.parametrize(
    ("good", "loudness"), [((False, True), 1), ((False, True, True), 30), ((False, False, True), 30)]
)
def test_the_device_gets_the_same_log_odds_whatever_the_temperature(good: tuple[bool, ...], loudness: float) -> None:
    """Of three classes also where they are louder than two are let to be: a good one must not drown a defect."""
    model = _network(np.array(good), loudness)
    for temperature in (0.5, 1.0, 3.0):
        device = for_device(model, temperature)
        for picture in _pictures():
            wanted = softmax(model.predict_on_batch(picture[None])[0] / temperature)
            got = softmax(device.predict_on_batch(picture[None])[0][0] / MAPS_TEMPERATURE)
            assert got == pytest.approx(wanted, abs=1e-3)


def test_what_is_louder_than_the_reach_is_clamped_so_that_a_step_stays_small() -> None:
    model = _network(GOOD, 1000)
    logits, maps = for_device(model, 1.0).predict_on_batch(_pictures()[:1])
    assert (maps.min(), maps.max()) == (0, pytest.approx((BELOW + ABOVE) * MAPS_TEMPERATURE))
    assert logits[0, 1] == pytest.approx(BELOW * MAPS_TEMPERATURE)  # the good class: even odds


def test_what_makes_evidence_relative_is_not_trained() -> None:
    assert MAPS not in {weight.path.split("/")[0] for weight in _network(GOOD, 1).trainable_weights}
