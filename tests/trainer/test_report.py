"""The page of a run."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_qc.bundle import Input, Output, Outputs
from edge_qc.domain import Outcome
from edge_qc_trainer import report_page
from edge_qc_trainer.card import Notes
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.convert import Quantized
from edge_qc_trainer.dataset import Dataset, LabelledFile
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.evaluate import Judgement
from edge_qc_trainer.fit import Epoch, Fitted
from edge_qc_trainer.job import Job, Made, Material
from edge_qc_trainer.measure import Measured, figures_of
from edge_qc_trainer.report import ends, interval, percent
from edge_qc_trainer.report_page import read_audit
from edge_qc_trainer.report_pictures import overlaid
from edge_qc_trainer.report_plots import curves, reliability, scores
from edge_qc_trainer.robustness import CLEAN, CONTROL
from edge_qc_trainer.split import Split
from ring_parts import draw_ring, write

VOID = {"meta", "img", "br", "path", "use", "rect", "circle"}
LABELS, OK = ("def_front", "ok_front"), ("ok_front",)
MADE = {"model": "casting-1.0.0", "model_sha256": "5ad1", "at": "2026-01-02T03:04:05+00:00", "fingerprint": "ab"}
AT_HALF = {"ok_below": 0.5, "reject_from": 0.5}
MINUS = "\N{MINUS SIGN}"


class Balance(HTMLParser):
    """Notes what is opened and not closed, every id, every heading, and every element with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"h2", "h3", "caption"}:
            self.headings.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def parse(page: str) -> Balance:
    found = Balance()
    found.feed(page)
    return found


def judgement(path: Path, label: str, score: float) -> Judgement:
    """As the device says it at thresholds of 0.5; the evidence is weak and lies in one place."""
    heatmap = np.zeros((8, 8), np.float32)
    heatmap[2, 5] = 0.07
    outcome, predicted = (Outcome.REJECT, LABELS[0]) if score >= 0.5 else (Outcome.OK, LABELS[1])
    return Judgement(path, label, outcome, predicted, score, "", 0, (score, 1 - score), heatmap)


Draw = Callable[..., str]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Draws the page of a cross-validated run: 12 parts of 4 copies; parts 0 and 1 are wrong, two copies of each."""
    files = []
    for part in range(12):
        for copy in range(4):
            files.append(LabelledFile(tmp_path / LABELS[part % 2] / f"{part}-{copy}.png", LABELS[part % 2]))
            if part < 2:
                write(files[-1].path, draw_ring(part))
    groups = np.arange(48) // 4
    wrong = {0: 0.2, 1: 0.03, 4: 0.9, 5: 0.6}
    said = [
        judgement(file.path, file.label, wrong.get(place, 0.95 if file.label == "def_front" else 0.05))
        for place, file in enumerate(files)
    ]
    before = [judgement(said[2].path, "def_front", 0.45) if place == 2 else one for place, one in enumerate(said)]
    gone = [replace(one, outcome=Outcome.NOT_INSPECTED, predicted=None, score=None, probabilities=()) for one in said]
    dark = [judgement(said[8].path, "def_front", 0.1) if place == 8 else one for place, one in enumerate(said)]
    varied = {CLEAN: said, "gain -30 %": dark, CONTROL: gone}
    data = Dataset(tuple(files), np.zeros((48, 1, 1), np.uint8), LABELS, np.arange(48) // 4 % 2, ("",) * 48, ())
    everything = np.arange(48)
    material = Material(data, groups, Split(everything, everything[:0], everything[:0]))
    counts = {"pictures": 48, "parts": 12, "train_pictures": 48, "train_parts": 12, "shift": -0.2}
    notes = Notes(
        name="casting", version="1.0.0", labels=LABELS, ok_labels=OK, made_with={"date": "2026-01-02"},
        data={**counts, "fingerprint": "ab", "seed": 3},
    )  # fmt: skip
    tensor = Output(index=0, shape=(1, 2), scale=1.0, zero_point=0)
    shape = Input(width=300, height=300, dtype="int8", scale=1.0, zero_point=0)
    made = Made(Quantized(b"model", shape, Outputs(logits=tensor)), notes, tmp_path / "model.keras")
    epochs = tuple(Epoch(number, 1 / number, 0.9, None, None, 1.0) for number in (1, 2))
    measured = Measured(everything, said, before, everything, varied)

    def page(changed: dict[str, Any] | None = None, notices: tuple[str, ...] = (), **of_job: Any) -> str:
        job = Job(data=(tmp_path,), recipe=Recipe(), folds=2, seed=3, **of_job)
        metrics = figures_of(job, material, measured)
        judged = {label: {"pictures": 12, "parts": 3} for label in LABELS}
        fold = {"trained": {"pictures": 24, "parts": 6}, "judged": judged, "history": Fitted(None, epochs, 2).history()}
        figures = {key: metrics[key] for key in ("n", "accuracy", "auc")} | {"by_part": metrics["by_group"]}
        metrics |= {
            "folds": [{"fold": number, **fold, **figures} for number in (1, 2)],
            "thresholds": AT_HALF,
            "made": MADE,
            "seconds": {"final": 2.0, "fits": 6.0, "count": 3},
            "beside": [],
            **(changed or {}),
        }
        audit = report_page.read_audit(job.audit) if job.audit else None
        return report_page.page(
            job, made, Fitted(None, epochs, 2), measured, metrics, "By cross-validation.", notices, audit
        )

    return page


@pytest.fixture(scope="module")
def page(run_folder: Path) -> str:
    return (run_folder / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def parsed(page: str) -> Balance:
    return parse(page)


def test_the_page_is_whole(parsed: Balance) -> None:
    assert parsed.open == []


def test_ids_of_the_plots_do_not_collide(parsed: Balance) -> None:
    # Two plots that share an id show each other's markers and clips.
    plots = [name for name in parsed.ids if re.fullmatch(r"[pm][0-9a-f]{10}", name)]
    assert len(plots) == len(set(plots)) > 3


def test_the_page_needs_nothing_beside_it(page: str) -> None:
    assert not re.findall(r"<(script|link|iframe)", page)
    assert all(source.startswith("data:image/") for source in re.findall(r'<img src="([^"]*)"', page))


def test_the_page_has_every_section(parsed: Balance) -> None:
    expected = {"Verdicts", "Scores and thresholds", "Calibration, pictures", "Worst errors", "Other light and optics"}
    expected |= {"Before and after quantization", "The fit", "What was trained on what", "Recipe", "Words"}
    assert expected <= set(parsed.headings)


def test_the_page_says_what_was_trained_on_what(page: str, run_folder: Path) -> None:
    notes = json.loads((run_folder / "model.keras.json").read_text())
    for text in (notes["data"]["fingerprint"], "edge-qc-train fit", notes["made_with"]["keras"], "Near copies"):
        assert text.lower() in page.lower()


def test_few_parts_are_admitted_on_the_page(page: str) -> None:
    assert "What these figures cannot say" in page


def test_metrics_hold_what_the_page_shows(run_folder: Path) -> None:
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert len(metrics["robustness"]["conditions"]) == 15
    assert metrics["robustness"]["control"]["condition"] == "background only"
    assert metrics["robustness"]["conditions"][0]["right_of_all"] == pytest.approx(metrics["accuracy"])
    assert metrics["quantization"]["n"] == metrics["n"]
    assert metrics["thresholds"] == {"ok_below": 0.5, "reject_from": 0.5}
    assert {"defect_rate", "ppm", "ci95"} <= set(metrics["by_group"]["escape_ppm"])


def test_the_card_of_the_bundle_names_no_files(run_folder: Path, parts: Path) -> None:
    assert str(parts) not in json.dumps(json.loads((run_folder / "bundle" / "model.json").read_text())["metrics"])


def test_figures_as_text() -> None:
    assert interval({"count": 2, "of": 453, "rate": 2 / 453, "ci95": [0.0005, 0.0158]}) == (
        "2 of 453 = 0.44 % (0.05 to 1.58 %)"
    )
    assert (percent(0.5), ends([0, 1]), ends(None)) == ("50.00 %", "0.00 to 100.00 %", "–")


def heatmap_of(peak: float) -> np.ndarray:
    heatmap = np.zeros((8, 8), np.float32)
    heatmap[2, 5] = peak
    return heatmap


def test_the_heatmap_tints_where_it_is_hot_and_nowhere_else() -> None:
    tinted = overlaid(np.full((64, 64), 100, np.uint8), heatmap_of(1))
    grey = (tinted == 100).all(axis=2)
    assert grey[40:, :30].all()
    assert not grey[16:24, 40:48].any()


def test_weak_evidence_shows_as_well_as_strong() -> None:
    grey = np.full((64, 64), 100, np.uint8)
    assert np.array_equal(overlaid(grey, heatmap_of(0.07)), overlaid(grey, heatmap_of(1)))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_peak_is_marked_on_any_grey_and_without_colour(level: int) -> None:
    around = overlaid(np.full((64, 64), level, np.uint8), heatmap_of(0.5))[12:29, 36:53].mean(axis=2)
    assert around.min() < 60
    assert around.max() > 195


def test_a_picture_without_evidence_stays_as_it_is() -> None:
    assert (overlaid(np.full((64, 64), 100, np.uint8), heatmap_of(0)) == 100).all()


def test_the_same_figures_give_the_same_plot() -> None:
    rows = {"bins": [{"pictures": 30, "score": 0.2, "defective": 0.1}, {"pictures": 90, "score": 0.9, "defective": 1}]}
    assert reliability(rows) == reliability(rows)
    assert 'role="img" aria-label="Reliability diagram"' in reliability(rows)


def test_a_plot_does_not_say_what_drew_it() -> None:
    assert "metadata" not in reliability({"bins": []})


def test_a_share_of_few_pictures_is_not_plotted() -> None:
    row = {"pictures": 20, "score": 0.2, "defective": 0.1}
    assert reliability({"bins": [row, {**row, "pictures": 19, "score": 0.6}]}) == reliability({"bins": [row]})


def test_the_thresholds_stand_in_the_histogram() -> None:
    judged = [judgement(Path("a"), "ok_front", 0.1)]
    assert "ok under 0.5, reject from 0.5" in scores(judged, OK, AT_HALF)
    apart = scores(judged, OK, {"ok_below": 0.25, "reject_from": 0.75})
    assert "ok under 0.25, unsure between, reject from 0.75" in apart


def test_good_and_defective_differ_in_the_histogram_without_colour() -> None:
    judged = [judgement(Path("a"), "ok_front", 0.1), judgement(Path("b"), "def_front", 0.9)]
    drawn = scores(judged, OK, AT_HALF)
    assert all(f">{name}</text>" in drawn for name in ("good", "defective"))
    assert "stroke-dasharray" in drawn
    assert "<pattern" in drawn


def test_the_folds_stand_beside_the_final_fit() -> None:
    history = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5, "validation_loss": None, "validation_accuracy": None}]
    drawn = curves(history, 1, [history, history])
    assert drawn.count("training, each fold") == drawn.count("training, final model") == 2


def test_what_is_drawn_is_whole_and_every_link_leads_somewhere(draw: Draw) -> None:
    found = parse(draw())
    assert found.open == []
    links = [attrs["href"] for tag, attrs in found.elements if tag == "a"]
    assert len(links) > 6
    assert {str(link)[1:] for link in links} <= set(found.ids)


def test_whoever_cannot_see_is_told(draw: Draw) -> None:
    found = parse(draw())
    assert all(attrs.get("alt") for tag, attrs in found.elements if tag == "img")
    assert all(attrs.get("aria-label") for tag, attrs in found.elements if tag == "svg")
    assert all(attrs.get("scope") for tag, attrs in found.elements if tag == "th")


def test_of_each_wrong_part_one_picture_is_shown_under_what_was_wrong(draw: Draw) -> None:
    page = draw()
    escapes, overkill = page[page.index("<h3>Escapes</h3>") :].split("<h3>Overkill</h3>")
    assert escapes.count("<figcaption>") == overkill.count("<figcaption>") == 1
    assert "0-1.png" in escapes  # of the part's two escapes the one with the lower score
    assert "1-0.png" in overkill
    assert "<b>Part 1, ok_front</b>, judged reject, score 0.900" in overkill


def test_evidence_that_stands_out_nowhere_is_called_so(draw: Draw) -> None:
    assert "peak 0.07: no place stood out" in draw()


def test_whole_parts_are_counted(draw: Draw) -> None:
    assert re.search(r"defective, judged ok</th>(<td class=.n.>\d</td>){3}<td class=.n.>6</td>", draw())


def test_a_condition_that_costs_more_than_half_a_point_is_marked_without_colour(draw: Draw) -> None:
    page = draw()
    assert f"1 of 1 conditions cost more than half a point; the worst is gain {MINUS}30 %, {MINUS}2.08 points" in page
    assert f"▼ {MINUS}2.08" in page


def test_a_control_that_could_not_be_judged_has_no_figures(draw: Draw) -> None:
    page = draw()
    assert "the control, could not be judged" in page
    row = page[page.index('<th scope="row">background only</th>') :].split("</tr>")[0]
    assert "%" not in row


def test_a_flip_shows_both_scores_and_what_became_of_it(draw: Draw) -> None:
    page = draw()
    assert "1 of 48 decisions differ: 0 became wrong, 1 became right" in page
    row = page[page.index("Decisions that differ") :].split("</tbody>")[0]
    assert all(text in row for text in ("0.450", "0.950", "0-2.png", ">right<"))


def test_each_fold_has_its_figures_and_the_final_model_none(draw: Draw) -> None:
    page = draw()
    assert all(page.count(f'<th scope="row">{row}</th>') == count for row, count in (("1", 2), ("fold 2", 1)))
    assert "not measured itself" in page
    assert "The final fit took 2 s; 3 fits 6 s" in page


def test_keys_of_the_recipe_that_do_nothing_under_folds_are_left_out(draw: Draw) -> None:
    page = draw()
    assert "steps_per_epoch" in page
    assert "held_out_share" not in page


def test_other_seeds_stand_under_the_key_figures_with_their_mean(draw: Draw) -> None:
    row = {"n": 48, "escape": {"of": 6, "rate": 0.1}, "overkill": {"of": 6, "rate": 0.0}, "parts": 12, "auc": 0.9}
    runs = [
        {**row, "seed": 3, "accuracy": 0.9, "parts_right": 10, "this": True},
        {**row, "seed": 4, "accuracy": 0.8, "parts_right": 11, "this": False},
    ]
    page = draw({"beside": runs})
    table = page[page.index("with other seeds</caption>") : page.index("<nav")]
    assert all(text in table for text in ("3, this model", "10 of 12", "85.00 %", "87.50 %"))
    assert "with other seeds" not in draw()


def test_notices_come_before_the_first_section(draw: Draw) -> None:
    page = draw(notices=("The pictures were not audited.",))
    assert page.index("The pictures were not audited.") < page.index('id="verdicts"')


def test_an_audit_is_known_by_the_sets_that_it_looked_at(draw: Draw, tmp_path: Path) -> None:
    row = {"level": "serious", "check": "brightness alone", "said": "Darker.", "remedy": ""}
    found = {
        "n": 48,
        "parts": 12,
        "fingerprint": "cd",
        "threshold": 0.88,
        "verdict": "1 serious.",
        "findings": [row],
        "sets": [],
    }
    (tmp_path / "audit.json").write_text(json.dumps(found))
    assert "none of the sets of this run; their fingerprint is <code>cd</code>" in draw(audit=tmp_path / "audit.json")
    (tmp_path / "audit.json").write_text(json.dumps({**found, "fingerprint": "ab"}))
    page = draw(audit=tmp_path / "audit.json")
    assert f"the very ones of {tmp_path.name}" in page
    assert "correlates by 0.88" in page


def test_an_audit_is_read(tmp_path: Path) -> None:
    row = {"level": "note", "check": "copies", "said": "none", "remedy": ""}
    found = {
        "n": 1,
        "parts": 1,
        "fingerprint": "ab",
        "verdict": "1 serious.",
        "threshold": 0.88,
        "findings": [row],
        "sets": [],
    }
    (tmp_path / "audit.json").write_text(json.dumps(found))
    assert read_audit(tmp_path / "audit.json") == found


@pytest.mark.parametrize("text", ["no json", "[]", '{"findings": [{}]}'])
def test_what_is_no_audit_is_a_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(DataError, match=r"is no audit; expected the file that edge-qc-train audit"):
        read_audit(tmp_path / "audit.json")
