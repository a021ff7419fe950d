"""A fit on round parts, from the pictures to the device: both see the very same ring."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from edge_qc.bundle import load_bundle
from edge_qc.classify.litert import LiteRtClassifier
from edge_qc.domain import Frame
from edge_qc_trainer import dataset
from edge_qc_trainer.card import read_notes
from edge_qc_trainer.fit import import_keras, logits_of
from ring_parts import write_rings

RECIPE = """
size: 96
epochs: 1
steps_per_epoch: 8
batch: 8
layers: [[8, 3, 2], [16, 3, 2], [16, 3, 2]]
average: 0.5
unwrap: ring
"""


LIKE = 0.9  # correlation; were the one given circles and the other not, it would be about 0.3


@pytest.fixture(scope="module")
def rings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine good rings and nine with a hole."""
    folder = tmp_path_factory.mktemp("rings")
    write_rings(folder / "data", ("ok", "def"), 18, 96, (48, 12, 4, 0))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def run_folder(rings: Path, edge_qc_train: Callable[..., None]) -> Path:
    """What ``fit`` made of them."""
    edge_qc_train("fit", rings / "data", "--recipe", rings / "recipe.yaml", "--out", rings / "out", "--no-groups")
    return rings / "out"


def _agree(bundle_folder: Path, keras_file: Path, rings: Path) -> None:
    """The device's log-odds of whole pictures go with those of the float network on what it was fitted to."""
    bundle, notes = load_bundle(bundle_folder), read_notes(keras_file)
    assert notes is not None
    assert notes.normalisation == bundle.card.input.normalisation == "standardise-circles"
    data = dataset.with_openings(dataset.load(dataset.find_files(rings / "data"), 96, "letterbox"), "ring")
    model = import_keras().saving.load_model(keras_file, compile=False)
    logits = logits_of(model, data.seen(np.arange(18)), data.normalisation)
    classifier, said = LiteRtClassifier(bundle), []
    for pixels in data.pixels:
        p = classifier.classify(Frame(pixels, 1, 0, datetime.now(UTC), "ring")).probabilities.astype(float)
        said.append(notes.temperature * np.log(p[0] / p[1]))
    assert np.corrcoef(said, logits[:, 0] - logits[:, 1])[0, 1] > LIKE


def test_the_device_sees_what_the_network_was_fitted_to(run_folder: Path, rings: Path) -> None:
    _agree(run_folder / "bundle", run_folder / "model.keras", rings)


def test_and_so_it_does_after_convert(run_folder: Path, rings: Path, edge_qc_train: Callable[..., None]) -> None:
    keras_file, again = run_folder / "model.keras", rings / "again"
    edge_qc_train("convert", keras_file, "--calibrate", rings / "data", "--out", again)
    _agree(again, keras_file, rings)


def test_a_network_without_notes_is_converted_and_its_card_says_what_is_not_known(
    run_folder: Path, rings: Path, edge_qc_train: Callable[..., None]
) -> None:
    bare, out = rings / "bare.keras", rings / "bare"
    bare.write_bytes((run_folder / "model.keras").read_bytes())
    edge_qc_train("convert", bare, "--calibrate", rings / "data", "--out", out)
    assert "Not known: the network came without notes" in (out / "MODEL_CARD.md").read_text()
    assert load_bundle(out).card.input.unwrap == "none"
