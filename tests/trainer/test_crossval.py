"""Cross-validation by part, and the calibration that comes of it."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.bundle import load_bundle
from edge_qc.classify.litert import softmax
from edge_qc_trainer.calibrate import calibrate, defect_log_odds, shift_logits
from edge_qc_trainer.cli import main
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.crossval import deal_into_folds
from edge_qc_trainer.fit import logits_of
from edge_qc_trainer.job import Job
from edge_qc_trainer.network import build
from metrics_of_runs import run_beside
from ring_parts import draw_ring, write

GOOD = np.array([False, True])


def _material(parts: int, copies: int, distinct: int) -> Any:
    count = parts * copies
    targets = np.concatenate([np.arange(count) // copies % 2, np.arange(distinct) % 2])
    groups = np.concatenate([np.arange(count) // copies, count + np.arange(distinct)])
    sources = np.concatenate([np.zeros(count, np.int64), np.ones(distinct, np.int64)])
    dataset = SimpleNamespace(targets=targets, sources=sources, files=[None] * len(targets))
    return SimpleNamespace(dataset=dataset, groups=groups)


def test_every_counted_picture_is_held_out_once_and_no_part_is_torn() -> None:
    material = _material(parts=20, copies=7, distinct=30)
    splits = deal_into_folds(material, Job(data=(Path("a"),), distinct=(Path("b"),), recipe=Recipe(), folds=4))
    held_out = np.concatenate([split.held_out for split in splits])
    assert sorted(held_out) == list(range(140))
    for split in splits:
        assert not set(material.groups[split.train]) & set(material.groups[split.held_out])


def test_distinct_pictures_are_trained_on_in_every_fold() -> None:
    material = _material(parts=20, copies=2, distinct=30)
    for split in deal_into_folds(material, Job(data=(Path("a"),), distinct=(Path("b"),), recipe=Recipe(), folds=2)):
        assert set(range(40, 70)) <= set(split.train)


@given(st.floats(-40, 40), st.floats(0.3, 4))
def test_a_network_that_leans_one_way_is_put_upright(lean: float, stretch: float) -> None:
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0, 2, 4000)
    defective = rng.random(4000) < 1 / (1 + np.exp(-log_odds))
    leaning = log_odds * stretch + lean
    logits = np.stack([leaning, np.zeros(4000)], axis=1).astype(np.float32)
    found = calibrate(logits, defective, GOOD, np.full(4000, 1 / 4000))
    corrected = defect_log_odds(logits, GOOD, found.temperature) + found.shift
    assert np.abs(corrected - log_odds).mean() < 0.25


@given(st.integers(0, 2**32 - 1), st.floats(-20, 20), st.sampled_from([24, 200, 2000]))
def test_classes_that_lie_apart_are_parted_in_the_middle(seed: int, level: float, pictures: int) -> None:
    """No level between them is likelier than another, and no temperature too low: yet it must not be chance's."""
    defective = np.arange(pictures) % 2 == 0
    away = 3 * (1 + np.random.default_rng(seed).random(pictures))
    logits = np.stack([level + np.where(defective, away, -away), np.zeros(pictures)], axis=1).astype(np.float32)
    found = calibrate(logits, defective, GOOD, np.full(pictures, 1 / pictures))
    assert -found.shift * found.temperature == pytest.approx(level, abs=1)
    assert found.temperature > 0.4


def test_the_log_odds_are_those_of_the_classes_together() -> None:
    logits = np.array([[1.0, 2.0, 0.5]], np.float32)
    p = softmax(logits)[0]
    good = np.array([False, True, False])
    assert defect_log_odds(logits, good, 1.0)[0] == pytest.approx(np.log((p[0] + p[2]) / p[1]), abs=1e-5)


@pytest.mark.parametrize("head", ["maps", "pooled"])
def test_a_shift_moves_the_logits_of_the_defective_classes_alone(head: str) -> None:
    model = build(Recipe(size=64, layers=((8, 3, 2), (8, 3, 2)), head=head), GOOD)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
    before = logits_of(model, pixels, "standardise")
    shift_logits(model, ~GOOD, 1.5)
    assert logits_of(model, pixels, "standardise") - before == pytest.approx(np.tile([1.5, 0.0], (3, 1)), abs=1e-4)


def test_a_cross_validated_fit_judges_every_part_and_trains_on_all(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.yaml").write_text(
        "{size: 64, epochs: 1, steps_per_epoch: 4, batch: 8, layers: [[8, 5, 2], [8, 3, 2]]}"
    )
    out = tmp_path / "out"
    beside = tmp_path / "seed-1.json"
    drawn = tmp_path / "drawn"
    for seed in range(4):
        write(drawn / ("ok_front", "def_front")[seed % 2] / f"{seed}.png", draw_ring(1000 + seed, 64))
    beside.write_text(json.dumps(run_beside(parts, drawn, recipe_file=tmp_path / "r.yaml", folds=2, seed=1)))
    options = [
        "--distinct",
        str(drawn),
        "--folds",
        "2",
        "--recipe",
        str(tmp_path / "r.yaml"),
        "--out",
        str(out),
        "--beside",
        str(beside),
    ]
    monkeypatch.setattr(sys, "argv", ["edge-qc-train", "fit", str(parts), *options])
    main()
    card = load_bundle(out / "bundle").card
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["n"] == sum(fold["n"] for fold in metrics["folds"]) == 60
    assert [fold["trained"]["pictures"] + fold["n"] for fold in metrics["folds"]] == [64, 64]
    assert [(row["set"], row["trained"], row["judged"]) for row in metrics["data"][1:3]] == [
        (parts.name, 30, 30),
        ("drawn", 2, 0),
    ]
    assert [len(fold["history"]) for fold in metrics["folds"]] == [1, 1]
    assert not any("history" in fold for fold in card.metrics["folds"])
    assert metrics["seconds"]["fits"] > metrics["seconds"]["final"] > 0
    assert [(row["seed"], row["this"]) for row in metrics["beside"]] == [(0, True), (1, False)]
    assert (card.data["train_pictures"], card.data["held_out_pictures"]) == (64, 0)
    readable = (out / "bundle" / "MODEL_CARD.md").read_text()
    for text in (
        "By cross-validation",
        "The 4 pictures of drawn were trained on in every fold and never judged",
        "| 0 (this model) |",
        "| mean of 2 |",
        "were not audited",
        "SHA-256 of",
    ):
        assert text in readable, text
    assert {p.name for p in out.iterdir()} == {
        "bundle", "model.keras", "model.keras.json", "metrics.json", "report.html"
    }  # fmt: skip
