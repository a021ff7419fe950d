"""One tiny run: what it writes, and that the device runs it as Keras does."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_qc.bundle import load_bundle
from edge_qc.classify.litert import LiteRtClassifier, softmax
from edge_qc_trainer import dataset
from edge_qc_trainer.evaluate import judge
from edge_qc_trainer.fit import import_keras, logits_of
from ring_parts import write_rings

CONTRACT = {"n", "accuracy", "labels", "confusion_matrix", "per_class", "macro_avg", "weighted_avg", "errors"}
CONTRACT |= {"escape", "overkill"}


def device_scores(run_folder: Path, parts: Path) -> np.ndarray:
    bundle = load_bundle(run_folder / "bundle")
    judgements, _ = judge(bundle, dataset.find_files(parts))
    return np.array([judgement.score for judgement in judgements])


def keras_scores(run_folder: Path, parts: Path) -> np.ndarray:
    notes = json.loads((run_folder / "model.keras.json").read_text())
    model = import_keras().saving.load_model(run_folder / "model.keras", compile=False)
    pixels = dataset.load(dataset.find_files(parts), 64, "letterbox").pixels
    return softmax(logits_of(model, pixels, notes["normalisation"]) / notes["temperature"])[
        :, notes["labels"].index("def_front")
    ]


def test_run_writes_what_the_contract_names(run_folder: Path) -> None:
    assert {"bundle", "model.keras", "metrics.json", "report.html"} <= {path.name for path in run_folder.iterdir()}


def test_run_leaves_no_draft(run_folder: Path) -> None:
    assert not [path for path in run_folder.parent.iterdir() if path.name.startswith(".")]


def test_metrics_have_the_contracts_keys(run_folder: Path) -> None:
    assert set(json.loads((run_folder / "metrics.json").read_text())) >= CONTRACT


def test_unreadable_file_is_named_and_skipped(run_folder: Path) -> None:
    assert "broken.png" in json.loads((run_folder / "metrics.json").read_text())["unreadable"][0]["path"]


def test_bundle_runs_on_the_devices_classifier(run_folder: Path) -> None:
    classifier = LiteRtClassifier(load_bundle(run_folder / "bundle"))
    assert classifier.labels == ("def_front", "ok_front")


def test_bundle_has_a_heatmap(run_folder: Path) -> None:
    heatmap = load_bundle(run_folder / "bundle").card.outputs.heatmap
    assert heatmap is not None
    assert heatmap.shape == (1, 8, 8, 2)


def test_int8_scores_agree_with_keras(run_folder: Path, parts: Path) -> None:
    difference = np.abs(device_scores(run_folder, parts) - keras_scores(run_folder, parts))
    assert difference.mean() < 0.03
    assert difference.max() < 0.15


def test_confident_verdicts_agree_with_keras_both_ways(run_folder: Path, parts: Path) -> None:
    device, keras = device_scores(run_folder, parts), keras_scores(run_folder, parts)
    assert ((device >= 0.5) == (keras >= 0.5))[np.abs(keras - 0.5) > 0.1].all()
    assert ((device >= 0.5) == (keras >= 0.5))[np.abs(device - 0.5) > 0.1].all()


def test_network_learns_the_closed_bore(run_folder: Path, parts: Path) -> None:
    truth = np.array(
        [file.label == "def_front" for file in dataset.load(dataset.find_files(parts), 64, "letterbox").files]
    )
    assert ((device_scores(run_folder, parts) >= 0.5) == truth).mean() > 0.8


def test_card_gives_command_seed_and_intervals(run_folder: Path) -> None:
    card = (run_folder / "bundle" / "MODEL_CARD.md").read_text()
    assert all(text in card for text in ("edge-qc-train fit", "Seed 0", "Clopper-Pearson", "escapes", "Limits"))


def test_evaluate_writes_the_contracts_keys(
    run_folder: Path, parts: Path, tmp_path: Path, run_command: Callable[..., tuple[int, str]]
) -> None:
    options = ["--json", tmp_path / "found.json", "--robustness", "--defect-rate", "0.1"]
    status, _ = run_command("evaluate", parts, "--model", run_folder / "bundle", *options)
    found = json.loads((tmp_path / "found.json").read_text())
    assert (status, found["n"], len(found["unreadable"]), found["by_group"]["n"]) == (0, 60, 1, 60)
    assert set(found) >= CONTRACT
    assert (
        found["made"]["model_sha256"]
        == hashlib.sha256((run_folder / "bundle" / "model.tflite").read_bytes()).hexdigest()
    )
    assert found["made"]["data"] == str(parts)
    assert set(found["per_class"]["ok_front"]) == {"precision", "recall", "f1", "support"}
    assert set(found["escape"]) == {"count", "of", "rate", "ci95"}
    assert found["by_group"]["escape_ppm"]["defect_rate"] == 0.1
    assert {row["n"] + row["not_inspected"] for row in found["robustness"]["conditions"]} == {60}


def test_evaluate_says_first_that_the_pictures_were_trained_on(
    run_folder: Path, parts: Path, edge_qc_train: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    edge_qc_train("evaluate", parts, "--model", run_folder / "bundle", "--no-groups")
    trained = json.loads((run_folder / "metrics.json").read_text())["data"]
    said = capsys.readouterr().out.splitlines()[0]
    known = sum(row["trained"] + row["validation"] for row in trained)
    assert said.startswith(f"{known} of these very pictures were trained on")


def test_evaluate_admits_that_it_does_not_know_other_pictures(
    run_folder: Path, tmp_path: Path, edge_qc_train: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    write_rings(tmp_path, ("ok_front", "def_front"), 2, 64, (20, 20, 9, 255))
    edge_qc_train("evaluate", tmp_path, "--model", run_folder / "bundle", "--no-groups")
    assert capsys.readouterr().out.startswith("Whether parts of these pictures were trained on is not known here")


def test_evaluate_refuses_folders_the_model_does_not_know(
    run_folder: Path, tmp_path: Path, run_command: Callable[..., tuple[int, str]]
) -> None:
    (tmp_path / "scratched").mkdir()
    (tmp_path / "scratched" / "a.png").write_bytes(b"x")
    status, said = run_command("evaluate", tmp_path, "--model", run_folder / "bundle")
    assert status == 2
    assert "expected folders named def_front, ok_front; got scratched" in said


def test_convert_makes_the_same_labels_anew(
    run_folder: Path, parts: Path, tmp_path: Path, run_command: Callable[..., tuple[int, str]]
) -> None:
    out = tmp_path / "bundle"
    status, said = run_command("convert", run_folder / "model.keras", "--calibrate", parts, "--out", out)
    assert (status, load_bundle(out).card.ok_labels) == (0, ("ok_front",)), said


def test_a_damaged_keras_file_is_a_message(
    tmp_path: Path, parts: Path, run_command: Callable[..., tuple[int, str]]
) -> None:
    (tmp_path / "model.keras").write_bytes(b"no zip")
    status, said = run_command("convert", tmp_path / "model.keras", "--calibrate", parts, "--out", tmp_path / "b")
    assert status == 2
    assert "expected a .keras file that fit wrote" in said
