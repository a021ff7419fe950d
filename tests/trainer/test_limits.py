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
OTHERS = (Path("seed-1.json"), Path("seed-2.json"))


def material(defective: int, good: int, held_out: int, shared: int = 0) -> Material:
    """Different parts, of each kind so many to train on and ``held_out`` to measure on; ``shared`` of those trained."""
    train = np.repeat([0, 1], [defective, good])
    targets = np.concatenate([train, np.repeat([0, 1], held_out)])
    groups = np.arange(len(targets))
    groups[len(train) : len(train) + shared] = groups[:shared]
    split = Split(np.arange(len(train)), np.array([], np.int64), np.arange(len(train), len(targets)))
    labels = ("def", "ok")
    files = tuple(LabelledFile(Path(f"{place}.png"), labels[target]) for place, target in enumerate(targets))
    # Light and detail, as the device's gate asks for.
    pixels = np.tile(np.arange(0, 256, dtype=np.uint8).reshape(16, 16), (len(files), 1, 1))
    return Material(Dataset(files, pixels, labels, targets, ("",) * len(files), ()), groups, split)


NOTHING = "0 serious, 0 to note, 1 clean. Nothing serious was found."
CLEAN = {"verdict": NOTHING, "findings": [{"level": "clean", "said": "No part bears two labels."}]}


def said(
    material: Material, audit: dict[str, Any] | None = CLEAN, beside: tuple[Path, ...] = OTHERS, **job: Any
) -> str:
    of_these = {"fingerprint": material.dataset.fingerprint, "sets": []}
    audit = audit and {**of_these, **audit}
    return "\n".join(notices(Job(data=(Path("a"),), recipe=Recipe(), beside=beside, **job), material, audit))


def test_plenty_of_even_parts_needs_no_words_but_the_audits_verdict() -> None:
    assert said(material(PLENTY, PLENTY, PLENTY)) == f"The audit of the pictures: {NOTHING}"


def test_one_to_ten_says_what_training_does_about_it() -> None:
    text = said(material(60, 600, PLENTY))
    assert "600 training pictures of ok, 60 of def" in text
    assert "draws all classes alike" in text
    assert "about 10 times as often" in text


def test_two_to_one_is_no_imbalance_worth_a_word() -> None:
    assert "Uneven" not in said(material(300, 600, PLENTY))


def test_few_parts_to_train_on_are_counted() -> None:
    assert "Few different parts to train on: 12 of def" in said(material(12, 30, PLENTY))


def test_few_parts_to_measure_on_say_how_wide_the_interval_is() -> None:
    # 0 of 9: the upper end of the exact interval is 1 - 0.025 ** (1 / 9), 33.6 %.
    text = said(material(60, 60, 9))
    assert "9 defective and 9 good parts are measured: were none of them judged wrongly, up to 33.63 %" in text


def test_parts_needed_are_given_for_both_ways_to_bound_a_rate() -> None:
    text = said(material(60, 60, 9))
    assert "It takes 368 parts" in text
    assert "(two-sided, 95 %), 299 by its one-sided bound" in text


def test_where_one_kind_is_scarce_the_other_is_named_too() -> None:
    scarce = material(PLENTY, PLENTY, PLENTY)
    few_good = [*np.flatnonzero(scarce.dataset.targets[scarce.split.held_out] == 0).tolist(), PLENTY, PLENTY + 1]
    held_out = scarce.split.held_out[few_good]
    text = said(scarce.with_split(Split(scarce.split.train, scarce.split.validation, held_out)))
    assert "400 defective and 2 good parts are measured" in text
    assert "up to 0.92 % of all defective parts could still escape, and up to 84.19 % of all good ones" in text


def test_test_pictures_of_trained_parts_are_counted_and_measured_all_the_same() -> None:
    text = said(material(PLENTY, PLENTY, PLENTY, shared=7))
    assert "7 of the 800 test pictures show parts that are trained on too" in text
    assert "as memory" in text


def test_in_cross_validation_no_part_is_shared() -> None:
    everything = material(PLENTY, PLENTY, 0)
    assert "trained on too" not in said(everything, folds=5)


def test_what_the_audit_found_serious_stands_first() -> None:
    serious = {"level": "serious", "said": "Brightness alone tells def."}
    audit = {"verdict": "1 serious, 0 to note, 1 clean.", "findings": [*CLEAN["findings"], serious]}
    lines = said(material(12, 30, 9), audit=audit).splitlines()
    assert lines[0] == "The audit of the pictures: 1 serious, 0 to note, 1 clean."
    assert lines[1] == "Audit: Brightness alone tells def."


def test_an_audit_of_other_pictures_is_not_passed_off_as_one_of_these() -> None:
    text = said(material(PLENTY, PLENTY, PLENTY), audit={**CLEAN, "fingerprint": "of others"})
    assert text.startswith("The audit that was given is of other pictures")
    assert NOTHING not in text


def test_pictures_that_nobody_audited_are_admitted() -> None:
    assert said(material(PLENTY, PLENTY, PLENTY), audit=None).startswith("The pictures were not audited")


def test_one_training_admits_that_another_seed_may_differ() -> None:
    assert "One training: another seed may differ" in said(material(PLENTY, PLENTY, PLENTY), beside=())


def test_copies_that_were_not_looked_for_are_admitted() -> None:
    assert "Near copies were not looked for" in said(material(PLENTY, PLENTY, PLENTY), group=False)
