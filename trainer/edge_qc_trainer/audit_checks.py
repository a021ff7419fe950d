"""What the audit looks for, a function a check: the verdict, what follows from it, and what to do."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from edge_qc_trainer.audit_pictures import Broken, Picture, PictureSet
from edge_qc_trainer.confounds import Confound
from edge_qc_trainer.dataset import IntArray

Level = Literal["serious", "note", "clean"]

_ENOUGH_PARTS = 30  # of a class: fewer, and a figure of 0 escapes still allows for more than one in ten
_TOP = 10  # parts that should not be most of a class
_GIVES_AWAY = 0.7  # AUC


@dataclass(frozen=True, slots=True)
class Item:
    """One thing found: a caption, and the pictures that show it."""

    caption: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: what was looked for, in two or three words.
        level: ``serious``: figures measured on these pictures would not hold; ``note``: worth a look; ``clean``.
        count: how many things were found.
        said: the verdict, one sentence.
        meaning: what follows from it; empty where the check is clean.
        remedy: what to do; empty where the check is clean.
        items: what was found, worst first.
    """

    check: str
    level: Level
    count: int
    said: str
    meaning: str = ""
    remedy: str = ""
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the checks look at."""

    sets: tuple[PictureSet, ...]
    pictures: tuple[Picture, ...]
    broken: tuple[Broken, ...]
    groups: IntArray
    confounds: tuple[Confound, ...]

    def by_group(self) -> Iterator[list[Picture]]:
        """The pictures of each group, the largest group first."""
        order = np.argsort(self.groups, kind="stable")
        members = np.split(order, np.flatnonzero(np.diff(self.groups[order])) + 1)
        for places in sorted(members, key=len, reverse=True):
            yield [self.pictures[place] for place in places]

    @property
    def audited(self) -> IntArray:
        """Places of the pictures that are part of DATA."""
        return np.array([i for i, p in enumerate(self.pictures) if self.sets[p.file.source].audited], np.int64)


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _unreadable(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.broken:
        yield Finding("broken files", "clean", 0, "Every file is a whole picture.")
        return
    kinds = Counter(broken.kind for broken in evidence.broken)
    yield Finding(
        "broken files",
        "note",
        len(evidence.broken),
        f"{_plural(len(evidence.broken), 'file is', 'files are')} no whole picture: "
        + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        + ".",
        "Training and evaluation skip them. Some viewers show a truncated picture as if it were whole.",
        "Copy them again from the source. Where the source is broken too, look for the disk or the link that did it.",
        tuple(Item(f"{broken.kind}: {broken.reason}", (broken.file.path,)) for broken in evidence.broken),
    )


def _odd_sized(evidence: Evidence) -> Iterator[Finding]:
    sizes = Counter(picture.shape for picture in evidence.pictures)
    usual = sizes.most_common(1)[0][0]
    odd = [picture for picture in evidence.pictures if picture.shape != usual]
    if not odd:
        yield Finding("odd sizes", "clean", 0, f"Every picture is {usual[1]} x {usual[0]} pixels.")
        return
    yield Finding(
        "odd sizes",
        "note",
        len(odd),
        f"{_plural(len(odd), 'picture is', 'pictures are')} not {usual[1]} x {usual[0]} pixels as the others are.",
        "Another size is another camera, crop or export. All are brought to the model's size, so a part looks larger "
        "or smaller in these, and if one class has more of them, the size gives it away.",
        "Find out where they come from. Keep them only if the line gives both sizes.",
        tuple(Item(f"{p.shape[1]} x {p.shape[0]}, {p.file.label}", (p.file.path,)) for p in odd),
    )


def _blank(evidence: Evidence) -> Iterator[Finding]:
    unfit = [picture for picture in evidence.pictures if picture.unfit]
    if not unfit:
        yield Finding("blank pictures", "clean", 0, "The device's gate would pass every picture to the model.")
        return
    reasons = Counter(picture.unfit.partition(":")[0] for picture in unfit)
    yield Finding(
        "blank pictures",
        "note",
        len(unfit),
        f"{_plural(len(unfit), 'picture shows', 'pictures show')} nothing that could be judged: "
        + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        + ".",
        "On the line the device's gate refuses such a frame. In training they teach that nothing at all is a class.",
        "Remove them, and see whether the trigger, the lamp or the exposure failed when they were taken.",
        tuple(Item(f"{picture.unfit} ({picture.file.label})", (picture.file.path,)) for picture in unfit),
    )


def _duplicates(evidence: Evidence) -> Iterator[Finding]:
    same: dict[str, list[Picture]] = {}
    for picture in evidence.pictures:
        same.setdefault(picture.pixel_hash, []).append(picture)
    found = sorted((pictures for pictures in same.values() if len(pictures) > 1), key=len, reverse=True)
    if not found:
        yield Finding("exact duplicates", "clean", 0, "No two files hold the same pixels.")
        return
    spare = sum(len(pictures) - 1 for pictures in found)
    yield Finding(
        "exact duplicates",
        "note",
        spare,
        f"{_plural(spare, 'picture is', 'pictures are')} there again, pixel for pixel, "
        f"in {_plural(len(found), 'set')} of duplicates.",
        "A duplicate adds nothing and makes a set look larger than it is.",
        "Keep one of each.",
        tuple(Item(_where(pictures, evidence), _paths(pictures)) for pictures in found),
    )


def _contradictions(evidence: Evidence) -> Iterator[Finding]:
    found = [pictures for pictures in evidence.by_group() if len({p.file.label for p in pictures}) > 1]
    if not found:
        yield Finding("contradicting labels", "clean", 0, "No part bears two labels.")
        return
    wrong = sum(len(pictures) - max(Counter(p.file.label for p in pictures).values()) for pictures in found)
    yield Finding(
        "contradicting labels",
        "serious",
        len(found),
        f"{_plural(len(found), 'part bears', 'parts bear')} two labels or more: "
        f"at least {_plural(wrong, 'picture is', 'pictures are')} labelled wrongly.",
        "Some of these labels are wrong, or the part changed between two pictures. No model can be right on both, and "
        "the evaluation counts errors that are none, or misses some that are.",
        "Look at the part, not the picture, and settle each one. The label with fewer pictures comes first below.",
        tuple(Item(_where(pictures, evidence), _paths(_rare_first(pictures))) for pictures in found),
    )


def _rare_first(pictures: Sequence[Picture]) -> list[Picture]:
    """One of each label in turn, the rarest label first: a few thumbnails then show every label."""
    counts = Counter(picture.file.label for picture in pictures)
    turn: Counter[str] = Counter()
    keyed = []
    for picture in pictures:
        keyed.append(((turn[picture.file.label], counts[picture.file.label], picture.file.label), picture))
        turn[picture.file.label] += 1
    return [picture for _, picture in sorted(keyed, key=lambda pair: pair[0])]


def _leakage(evidence: Evidence) -> Iterator[Finding]:
    for first, second in combinations(range(len(evidence.sets)), 2):
        if evidence.sets[first].audited or evidence.sets[second].audited:
            yield _leakage_between(evidence, first, second)


def _leakage_between(evidence: Evidence, first: int, second: int) -> Finding:
    one, other = evidence.sets[first].name, evidence.sets[second].name
    shared = [
        [picture for picture in pictures if picture.file.source in {first, second}]
        for pictures in evidence.by_group()
        if {first, second} <= {picture.file.source for picture in pictures}
    ]
    check = f"leakage {one} – {other}"
    if not shared:
        return Finding(check, "clean", 0, f"{one} and {other} share no part.")
    total = sum(picture.file.source == second for picture in evidence.pictures)
    leaked = sum(picture.file.source == second for pictures in shared for picture in pictures)
    known = {picture.pixel_hash for picture in evidence.pictures if picture.file.source == first}
    exact = sum(picture.file.source == second and picture.pixel_hash in known for picture in evidence.pictures)
    return Finding(
        check,
        "serious",
        leaked,
        f"{100 * leaked / total:.1f} % of {other}, {_plural(leaked, 'picture')}, {'shows' if leaked == 1 else 'show'} "
        f"one of {_plural(len(shared), 'part')} that {one} has too; {exact:,} of them pixel for pixel.",
        f"A model trained on {one} has seen these parts. What it gets right on them in {other} is memory, not "
        "inspection, and says nothing of the next part on the line.",
        "Split by part, as edge-qc-train fit does by itself, or take all pictures of these parts out of one set.",
        tuple(Item(_where(pictures, evidence), _paths(_both_sides(pictures, second))) for pictures in shared),
    )


def _both_sides(pictures: Sequence[Picture], second: int) -> list[Picture]:
    """Of each set in turn."""
    sides = [[p for p in pictures if p.file.source != second], [p for p in pictures if p.file.source == second]]
    paired = min(map(len, sides))
    alternating = [picture for pair in zip(*sides, strict=False) for picture in pair]
    return alternating + sides[0][paired:] + sides[1][paired:]


def _parts(evidence: Evidence) -> Iterator[Finding]:
    groups = [
        pictures for pictures in evidence.by_group() if any(evidence.sets[p.file.source].audited for p in pictures)
    ]
    copies = [pictures for pictures in groups if len(pictures) > 1]
    sizes: dict[str, list[int]] = {}
    for pictures in groups:
        audited = Counter(p.file.label for p in pictures if evidence.sets[p.file.source].audited)
        for label, count in audited.items():
            sizes.setdefault(label, []).append(count)
    each = "; ".join(_of_class(label, sorted(counts, reverse=True)) for label, counts in sorted(sizes.items()))
    few = [label for label, counts in sorted(sizes.items()) if len(counts) < _ENOUGH_PARTS]
    if not copies and not few:
        yield Finding("parts", "clean", 0, f"Every picture shows another part, as far as can be seen: {each}.")
        return
    yield Finding(
        "parts",
        "note",
        len(groups),
        f"The pictures show {_plural(len(groups), 'part')}, most likely: {each}.",
        "Different parts count, not pictures: copies of one part are right or wrong together."
        + (f" With fewer than {_ENOUGH_PARTS} parts of {' and of '.join(few)}, no figure can be sure." if few else ""),
        "Split, sample and report by part, as edge-qc-train fit does by itself."
        + (f" Photograph more parts of {' and of '.join(few)}." if few else ""),
        tuple(Item(_where(pictures, evidence), _paths(pictures)) for pictures in copies),
    )


def _of_class(label: str, sizes: Sequence[int]) -> str:
    said = f"{label} {_plural(sum(sizes), 'picture')} of {_plural(len(sizes), 'part')}"
    share = sum(sizes[:_TOP]) / sum(sizes)
    return f"{said}, {100 * share:.0f} % of them of {_TOP} parts" if len(sizes) > _TOP and share > 0.5 else said


_MEANING = {
    "brightness": "how bright a picture is",
    "contrast": "how much a picture's grey levels vary",
    "file size": "how many bytes the file has",
    "picture size": "how many pixels a picture has",
    "background": "how the corners look, where no part is,",
}
_ORDER = {  # what has the lower values, and what the higher
    "brightness": ("Darker pictures", "Brighter pictures"),
    "contrast": ("Pictures of less contrast", "Pictures of more contrast"),
    "file size": ("Smaller files", "Larger files"),
    "picture size": ("Smaller pictures", "Larger pictures"),
}
_REMEDY = {
    "brightness": "Photograph both classes in the same session, mixed. The device evens out brightness of the whole "
    "picture before it judges, but not shade or glare.",
    "contrast": "Photograph both classes in the same session, mixed, with the same exposure. The device evens out the "
    "contrast of the whole picture, but not haze, focus or noise.",
    "file size": "Look for another camera, export or compression of one class. A defect that adds detail does this "
    "too: then it is no fault.",
    "picture size": "Export both classes alike, from the same camera.",
    "background": "Photograph both classes on the same table, mixed, or crop to the part. Then evaluate on pictures of "
    "a session in which neither class was collected.",
}


def _gives_away(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.confounds:
        yield Finding("what gives the class away", "note", 0, "There is one class only: nothing to tell apart.")
    for confound in evidence.confounds:
        name = f"{confound.name} alone"
        telling = max(confound.auc_parts, confound.auc_pictures) >= _GIVES_AWAY
        if not telling:
            said = f"{name.capitalize()} does not tell the classes apart: it {_ranks(confound)}."
            yield Finding(name, "clean", 0, said)
            continue
        sure = confound.auc_parts >= _GIVES_AWAY and confound.ci95[0] > 0.5
        if confound.folds:
            said = f"{name.capitalize()} tells {confound.label}: it {_ranks(confound)}."
        else:
            which = _ORDER[confound.name][not confound.lower]
            said = f"{which} are mostly {confound.label}: {name} {_ranks(confound)}."
        yield Finding(
            name,
            "serious" if sure else "note",
            1,
            said,
            f"Here {_MEANING[confound.name]} goes with the class. A network may learn that and not the defect, and "
            "nothing in this set can show it: test pictures taken the same way have it too."
            + ("" if sure else " By part it is not sure: few parts may be behind it."),
            _REMEDY[confound.name],
        )


def _ranks(confound: Confound) -> str:
    """The AUC in words; a half of all pairs is a guess."""
    low, high = confound.ci95
    side = "below" if confound.lower else "above"
    return (
        f"ranks a part of {confound.label} {side} one of another class in {100 * confound.auc_parts:.0f} % of pairs "
        f"(95 % {100 * low:.0f} to {100 * high:.0f} %, {confound.parts[0]:,} and {confound.parts[1]:,} parts), by "
        f"picture in {100 * confound.auc_pictures:.0f} %"
    )


def _where(pictures: Sequence[Picture], evidence: Evidence) -> str:
    """``5 pictures: 3 train/ok, 2 test/ok``."""
    several = len(evidence.sets) > 1
    names = Counter(
        f"{evidence.sets[p.file.source].name}/{p.file.label}" if several else p.file.label for p in pictures
    )
    if len(names) == 1:
        return f"{_plural(len(pictures), 'picture')} of {next(iter(names))}"
    return f"{_plural(len(pictures), 'picture')}: " + ", ".join(f"{n:,} {name}" for name, n in names.most_common())


def _paths(pictures: Sequence[Picture]) -> tuple[Path, ...]:
    return tuple(picture.file.path for picture in pictures)


CHECKS: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    _leakage,
    _contradictions,
    _gives_away,
    _parts,
    _duplicates,
    _unreadable,
    _blank,
    _odd_sized,
)
