"""What the figures of a run cannot say, and what training does about few or uneven pictures: said before it begins."""

from collections import Counter

import numpy as np

from edge_qc_trainer.dataset import IntArray
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.intervals import parts_needed, proportion
from edge_qc_trainer.job import Job, Material
from edge_qc_trainer.metrics import Figures
from edge_qc_trainer.report import percent
from edge_qc_trainer.sets import audited, sets_of
from edge_qc_trainer.statistics import refusal

UNEVEN = 3.0  # times as many pictures of one class as of another
FEW_PARTS = 30  # of a class, to train on
WIDE = 0.05  # an upper bound, without a single mistake, that is worth a sentence
_ONE_SEED = (
    "One training: another seed may differ more than these intervals say. Fit with other seeds, and give their "
    "metrics.json to --beside."
)


def notices(job: Job, material: Material, audit: Figures | None) -> list[str]:
    """Sentences for the terminal, the report and the card, the gravest first.

    Args:
        job: what ``fit`` was asked for.
        material: the pictures.
        audit: what the audit of them found; None where there was none.

    Raises:
        DataError: if the device would refuse every picture of a class.
    """
    measured = _measured(job, material)
    return [
        *_audited(audit, job, material),
        *_refused(material),
        *_uneven(material),
        *_few(material),
        *_wide(job, material, measured),
        *([] if job.folds else _shared(material, measured)),
        *([] if job.beside else [_ONE_SEED]),
        *([] if job.group else ["Near copies were not looked for: every picture counts as a part of its own."]),
    ]


def _audited(audit: Figures | None, job: Job, material: Material) -> list[str]:
    if audit is None:
        return ["The pictures were not audited: what gives their class away without the part is not known here."]
    if not audited(audit, material.dataset.fingerprint, sets_of(job, material, np.zeros(0, np.int64))):
        return ["The audit that was given is of other pictures: what gives the class of these away is not known here."]
    serious = [row["said"] for row in audit["findings"] if row["level"] == "serious"]
    return [f"The audit of the pictures: {audit['verdict']}", *(f"Audit: {said}" for said in serious)]


def _refused(material: Material) -> list[str]:
    """Pictures that the device's gate would refuse, before they are trained on."""
    data = material.dataset
    faults = [refusal(pixels) for pixels in data.pixels]
    refused = np.array([fault is not None for fault in faults])
    for number, label in enumerate(data.labels):
        of_class = data.targets == number
        if refused[of_class].all():
            fault = next(fault for fault, here in zip(faults, of_class, strict=True) if here and fault)
            raise DataError(
                f"the device would refuse every picture of {label}",
                expected="pictures with light and detail in them",
                got=f"{fault.reason}: {fault.detail}",
                remedy="Look at them: were they taken, or written, with too few grey levels?",
            )
    if not refused.any():
        return []
    reasons = Counter(fault.reason for fault in faults if fault)
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return [f"The device would refuse {int(refused.sum())} of the pictures ({told}), and never judge the like of them."]


def _measured(job: Job, material: Material) -> IntArray:
    if job.folds:
        return np.flatnonzero(~job.is_distinct(material.dataset.sources))
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
    parts = [len(np.unique(material.groups[measured][of_kind])) for of_kind in (~good, good)]
    bounds = [proportion(0, count)["ci95"][1] for count in parts]
    if max(bounds) <= WIDE:
        return []
    sentence = (
        f"{parts[0]} defective and {parts[1]} good parts are measured: were none of them judged wrongly, up to "
        f"{percent(bounds[0])} of all defective parts could still escape, and up to {percent(bounds[1])} of all good "
        f"ones be rejected. It takes {parts_needed(0.01, 0.975)} parts of a kind without a mistake to show at most 1 % "
        f"by the interval that is shown here (two-sided, 95 %), {parts_needed(0.01)} by its one-sided bound."
    )
    return [sentence]


def _shared(material: Material, measured: IntArray) -> list[str]:
    known = np.isin(material.groups[measured], material.groups[material.split.known])
    if not known.any():
        return []
    sentence = (
        f"{int(known.sum())} of the {len(measured)} test pictures show parts that are trained on too. They are "
        "measured all the same, as memory: keep parts apart, or leave out --test and let the trainer hold parts out."
    )
    return [sentence]
