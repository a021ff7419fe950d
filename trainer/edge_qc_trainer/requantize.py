"""The ``convert`` command: a ``.keras`` file into a bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_qc.bundle import check_replaceable, write_bundle
from edge_qc_trainer import dataset
from edge_qc_trainer.card import Notes, bundle_of, check_name, read_notes, readable_card, versions
from edge_qc_trainer.convert import choose_calibration, quantize
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.fit import import_keras
from edge_qc_trainer.groups import group_identical
from edge_qc_trainer.network import softness_of
from edge_qc_trainer.statistics import statistics_of

if TYPE_CHECKING:
    from edge_qc_trainer.job import Progress

_NOT_MEASURED = "Not measured. Run `edge-qc-train evaluate DATA --model BUNDLE` on parts that training never saw."


def convert(
    keras_file: Path,
    calibrate: Path,
    out: Path,
    labels: Sequence[str],
    ok_labels: Sequence[str],
    names: dict[str, str],
    progress: "Progress",
) -> int:
    """Quantizes a network and writes its bundle.

    Args:
        keras_file: the network.
        calibrate: training pictures, a folder for each class.
        out: the bundle's folder.
        labels: the classes in the network's order; empty: as noted beside the file, else the folders' names.
        ok_labels: the good ones; empty: as noted, else by their names.
        names: ``name`` and ``version`` of the model, where they differ from the noted ones.
        progress: where to tell how far it is.

    Returns:
        Size of the model in bytes.

    Raises:
        BundleError: if something else than a bundle stands at ``out``.
        DataError: if the network and the classes do not fit each other.
        ConversionError: if it cannot be quantized.
    """
    check_name(names.get("name", "model"), names.get("version", "1.0.0"))
    check_replaceable(out)
    size, classes, softness = _shape_of(keras_file)
    files = dataset.find_files(dataset.train_and_test(calibrate)[0])
    noted = read_notes(keras_file)
    notes = _notes(noted, [file.label for file in files], labels, ok_labels, names)
    if len(notes.labels) != classes:
        raise DataError(
            f"{keras_file.name} does not fit its labels",
            expected=f"{classes} of them",
            got=", ".join(notes.labels),
            remedy="Name the classes with --label, in the network's order",
        )
    reading = progress.counter("reading", len(files))
    data = dataset.load(files, size, notes.fit, reading, notes.region, notes.align)
    data = dataset.with_openings(data, notes.unwrap)
    places = np.arange(len(data.files))
    groups = group_identical(data.hashes)
    chosen = choose_calibration(places, data.targets, groups, seed=0)
    quantized = quantize(keras_file, data.seen(chosen), notes.fit, notes.normalisation, softness)
    notes = notes.model_copy(update={"statistics": statistics_of(data.pixels, data.targets, groups, places)})
    bundle = bundle_of(quantized, notes, {}, out)
    write_bundle(out, bundle.card, bundle.model, readable_card(bundle, notes, {}, _NOT_MEASURED))
    return len(bundle.model)


def _shape_of(keras_file: Path) -> tuple[int, int, float | None]:
    """Side of the network's input in pixels, its classes, and the softness of its maps."""
    try:
        model = import_keras().saving.load_model(keras_file, compile=False)
    except (ValueError, OSError) as error:
        raise DataError(
            f"{keras_file} cannot be loaded", expected="a .keras file that fit wrote", got=str(error).split("\n")[0]
        ) from None
    return int(model.input_shape[1]), int(model.output_shape[-1]), softness_of(model)


def _notes(
    noted: Notes | None, found: Sequence[str], labels: Sequence[str], ok_labels: Sequence[str], names: dict[str, str]
) -> Notes:
    known = tuple(labels) or (noted.labels if noted else tuple(sorted(set(found))))
    good = tuple(ok_labels) or (noted.ok_labels if noted and not labels else ())
    base = noted.model_dump() if noted else {"name": "model", "version": "1.0.0", "made_with": versions()}
    return Notes.model_validate({**base, **names, "labels": known, "ok_labels": dataset.choose_ok_labels(known, good)})
