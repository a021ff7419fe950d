"""What the figures of a run cannot say, and what training does about few or uneven pictures: said before it begins."""

import numpy as np

from edge_qc_trainer.dataset import IntArray
from edge_qc_trainer.intervals import parts_needed, proportion
from edge_qc_trainer.job import Job, Material
from edge_qc_trainer.report import percent

UNEVEN = 3.0  # times as many pictures of one class as of another
FEW_PARTS = 30  # of a class, to train on
WIDE = 0.05  # an upper bound, without a single mistake, that is worth a sentence


def notices(job: Job, material: Material) -> list[str]:
    """Sentences for the terminal and the report; empty where there is nothing to be warned of."""
    measured = _measured(job, material)
    return [
        *_uneven(material),
        *_few(material),
        *_wide(job, material, measured),
        *([] if job.folds else _shared(material, measured)),
        *([] if job.group else ["Near copies were not looked for: every picture counts as a part of its own."]),
    ]


def _measured(job: Job, material: Material) -> IntArray:
    if job.folds:
        return np.flatnonzero(material.dataset.sources < len(job.data))
    return material.split.held_out


def _uneven(material: Material) -> list[str]:
    labels = material.dataset.labels
    counts = np.bincount(material.dataset.targets[material.split.train], minlength=len(labels))
    most, fewest = int(counts.argmax()), int(counts.argmin())
    if counts[most] < UNEVEN * counts[fewest]:
        return []
    sentence = (
        f"Uneven classes: {counts[most]} training pictures of {labels[most]}, {counts[fewest]} of {labels[fewest]}. "
        f"Training draws all classes alike, so it sees a picture of {labels[fewest]} about "
        f"{counts[most] / counts[fewest]:.0f} times as often. Accuracy by picture hides what happens to the rare "
        "class: read its recall, the escapes and the overkill."
    )
    return [sentence]


def _few(material: Material) -> list[str]:
    data, train = material.dataset, material.split.train
    parts = {
        label: len(np.unique(material.groups[train][data.targets[train] == number]))
        for number, label in enumerate(data.labels)
    }
    few = [f"{count} of {label}" for label, count in parts.items() if count < FEW_PARTS]
    if not few:
        return []
    sentence = (
        f"Few different parts to train on: {', '.join(few)} (near copies counted once). Every picture is varied in "
        "place, light and sharpness each time it is drawn, which makes no new part: what other parts look like, the "
        f"network has not seen. At least {FEW_PARTS} of each class are a start."
    )
    return [sentence]


def _wide(job: Job, material: Material, measured: IntArray) -> list[str]:
    data = material.dataset
    good = data.good(job.ok_labels)[data.targets[measured]]
    sentences = []
    for kind, mistake, of_kind in (("defective", "escape", ~good), ("good", "be rejected", good)):
        parts = len(np.unique(material.groups[measured][of_kind]))
        bound = proportion(0, parts)["ci95"][1]
        if bound > WIDE:
            sentences.append(
                f"{parts} {kind} parts are measured: were none of them judged wrongly, up to {percent(bound)} of all "
                f"could still {mistake} (95 % interval)."
            )
    if sentences:
        sentences[-1] += f" It takes {parts_needed(0.01, 0.975)} parts without a mistake to show at most 1 %."
    return sentences


def _shared(material: Material, measured: IntArray) -> list[str]:
    trained = np.isin(material.groups[measured], material.groups[material.split.train])
    if not trained.any():
        return []
    sentence = (
        f"{int(trained.sum())} of the {len(measured)} test pictures show parts that are trained on too. They are "
        "measured all the same, as memory: keep parts apart, or leave out --test and let the trainer hold parts out."
    )
    return [sentence]
