"""What the figures cannot say is said before training begins."""

from pathlib import Path
from typing import Any

import numpy as np

from edge_qc_trainer.config import Recipe
from edge_qc_trainer.dataset import Dataset, LabelledFile
from edge_qc_trainer.job import Job, Material
from edge_qc_trainer.limits import notices
from edge_qc_trainer.split import Split

PLENTY = 400


def material(defective: int, good: int, held_out: int, shared: int = 0) -> Material:
    """Different parts, of each kind so many to train on and ``held_out`` to measure on; ``shared`` of those trained."""
    train = np.repeat([0, 1], [defective, good])
    targets = np.concatenate([train, np.repeat([0, 1], held_out)])
    groups = np.arange(len(targets))
    groups[len(train) : len(train) + shared] = groups[:shared]
    split = Split(np.arange(len(train)), np.array([], np.int64), np.arange(len(train), len(targets)))
    labels = ("def", "ok")
    files = tuple(LabelledFile(Path(f"{place}.png"), labels[target]) for place, target in enumerate(targets))
    pixels = np.zeros((len(files), 1, 1), np.uint8)
    return Material(Dataset(files, pixels, labels, targets, ("",) * len(files), ()), groups, split)


def said(material: Material, **job: Any) -> str:
    return "\n".join(notices(Job(data=(Path("a"),), recipe=Recipe(), **job), material))


def test_plenty_of_even_parts_needs_no_words() -> None:
    assert said(material(PLENTY, PLENTY, PLENTY)) == ""


def test_one_to_ten_says_what_training_does_about_it() -> None:
    text = said(material(60, 600, PLENTY))
    assert "600 training pictures of ok, 60 of def" in text
    assert "draws all classes alike" in text
    assert "about 10 times as often" in text


def test_two_to_one_is_no_imbalance_worth_a_word() -> None:
    assert said(material(300, 600, PLENTY)) == ""


def test_few_parts_to_train_on_are_counted() -> None:
    assert "Few different parts to train on: 12 of def" in said(material(12, 30, PLENTY))


def test_few_parts_to_measure_on_say_how_wide_the_interval_is() -> None:
    # 0 of 9: the upper end of the exact interval is 1 - 0.025 ** (1 / 9), 33.6 %.
    text = said(material(60, 60, 9))
    assert "9 defective parts are measured: were none of them judged wrongly, up to 33.63 %" in text
    assert "It takes 368 parts" in text


def test_test_pictures_of_trained_parts_are_counted_and_measured_all_the_same() -> None:
    text = said(material(PLENTY, PLENTY, PLENTY, shared=7))
    assert "7 of the 800 test pictures show parts that are trained on too" in text
    assert "as memory" in text


def test_in_cross_validation_no_part_is_shared() -> None:
    everything = material(PLENTY, PLENTY, 0)
    assert said(everything, folds=5) == ""


def test_copies_that_were_not_looked_for_are_admitted() -> None:
    assert "Near copies were not looked for" in said(material(PLENTY, PLENTY, PLENTY), group=False)
