"""The network's head: each place speaks for itself, and all of them add up, in training as on the device."""

from typing import Any

import numpy as np
import pytest

from edge_qc.classify.litert import add_up
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.errors import ConversionError
from edge_qc_trainer.fit import import_keras
from edge_qc_trainer.network import LOGITS, MAPS, RAW_MAPS, build, for_device, for_training, softness_of

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


def _added_up(maps: np.ndarray, good: np.ndarray) -> np.ndarray:
    """By the card's own words: softness * log(sum(exp(map / softness))), of a good class with the mean."""
    of_places = np.exp(maps.astype(np.float64) / RECIPE.softness)
    return RECIPE.softness * np.log(np.where(good, of_places.mean(axis=(1, 2)), of_places.sum(axis=(1, 2))))


@pytest.mark.parametrize("good", [(False, True), (False, True, False), (True, False, True)])
def test_the_device_adds_up_the_same(good: tuple[bool, ...]) -> None:
    maps = np.random.default_rng(0).normal(-3, 4, (5, 6, 7, len(good))).astype(np.float32)
    for wanted, of_picture in zip(_added_up(maps, np.array(good)), maps, strict=True):
        assert add_up(of_picture, np.array(good), RECIPE.softness) == pytest.approx(wanted, abs=1e-4)


def test_very_loud_places_do_not_overflow() -> None:
    maps = np.array([[[400.0, 0.0], [-900.0, 0.0]]], np.float32)
    assert add_up(maps, GOOD, 0.1) == pytest.approx([400.0, 0.0], abs=1e-3)


@pytest.mark.parametrize("good", [(False, True), (False, True, False), (True, False, True)])
def test_the_evidence_of_all_places_adds_up_to_the_logit_of_a_class(good: tuple[bool, ...]) -> None:
    model = _network(np.array(good), 10)
    maps = for_training(model).predict_on_batch(_pictures())[1]
    assert model.predict_on_batch(_pictures()) == pytest.approx(_added_up(maps, np.array(good)), abs=1e-4)


def test_it_is_trained_on_the_loudest_place_of_each_class() -> None:
    loudest, maps = for_training(_network(GOOD, 1)).predict_on_batch(_pictures())
    assert loudest == pytest.approx(maps.max(axis=(1, 2)), abs=1e-5)


def test_one_loud_place_is_enough_and_many_weak_ones_are_too() -> None:
    quiet, spot, weak = (np.full((4, 4, 2), -20.0, np.float32) for _ in range(3))
    spot[2, 1], weak[:] = 5.0, 5.0 - RECIPE.softness * np.log(16)
    told = [add_up(maps, np.array([False, False]), RECIPE.softness)[0] for maps in (quiet, spot, weak)]
    assert told[0] < -10
    assert told[1:] == pytest.approx([5.0, 5.0], abs=1e-3)


@pytest.mark.parametrize("good", [(False, True), (False, True, False), (True, False, True)])
def test_evidence_is_counted_from_that_for_the_good_classes(good: tuple[bool, ...]) -> None:
    flags = np.array(good)
    maps = for_training(_network(flags, 1)).predict_on_batch(_pictures())[1]
    assert maps[..., flags].mean(axis=-1) == pytest.approx(0, abs=1e-5)
    assert np.abs(maps[..., ~flags]).max() > 0.1


@pytest.mark.parametrize("good", [(False, True), (False, True, True), (False, False, True)])
def test_the_device_reads_the_very_maps(good: tuple[bool, ...]) -> None:
    model = _network(np.array(good), 10)
    device, maps = for_device(model), for_training(model).predict_on_batch(_pictures())[1]
    for picture, wanted in zip(_pictures(), maps, strict=True):
        assert device.predict_on_batch(picture[None])[0] == pytest.approx(wanted, abs=1e-3)


def test_a_network_knows_how_soft_it_is() -> None:
    assert softness_of(_network(GOOD, 1)) == pytest.approx(RECIPE.softness)
    assert softness_of(build(RECIPE.model_copy(update={"head": "pooled"}), GOOD)) is None


def test_a_network_whose_loudest_place_was_its_logit_is_fitted_anew() -> None:
    keras = import_keras()
    seen = keras.Input((8, 8, 1))
    maps = keras.layers.Conv2D(2, 1, name=MAPS)(seen)
    logits = keras.layers.Reshape((2,), name=LOGITS)(keras.layers.MaxPooling2D(8)(maps))
    with pytest.raises(ConversionError, match="earlier version"):
        softness_of(keras.Model(seen, logits))


def test_what_makes_evidence_relative_is_not_trained() -> None:
    assert MAPS not in {weight.path.split("/")[0] for weight in _network(GOOD, 1).trainable_weights}
