"""The page of a run."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edge_qc_trainer.errors import DataError
from edge_qc_trainer.evaluate import Judgement
from edge_qc_trainer.report import ends, interval, percent
from edge_qc_trainer.report_page import read_audit
from edge_qc_trainer.report_pictures import overlaid
from edge_qc_trainer.report_plots import reliability, scores

VOID = {"meta", "img", "br", "path", "use", "rect", "circle"}


class Balance(HTMLParser):
    """Notes what is opened and not closed, and every id."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"h2", "h3"}:
            self.headings.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(run_folder: Path) -> str:
    return (run_folder / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def parsed(page: str) -> Balance:
    found = Balance()
    found.feed(page)
    return found


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
    expected = {"Verdicts", "Scores and thresholds", "Calibration", "Worst errors", "Other light and optics"}
    expected |= {"Before and after quantization", "The fit", "What was trained on what", "Recipe"}
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
    assert set(metrics["by_group"]["escape_ppm"]) == {"defect_rate", "ppm", "ci95"}


def test_the_card_of_the_bundle_names_no_files(run_folder: Path, parts: Path) -> None:
    assert str(parts) not in json.dumps(json.loads((run_folder / "bundle" / "model.json").read_text())["metrics"])


def test_figures_as_text() -> None:
    assert interval({"count": 2, "of": 453, "rate": 2 / 453, "ci95": [0.0005, 0.0158]}) == (
        "2 of 453 = 0.44 % (0.05 to 1.58 %)"
    )
    assert (percent(0.5), ends([0, 1]), ends(None)) == ("50.00 %", "0.00 to 100.00 %", "–")


def test_the_heatmap_tints_where_it_is_hot_and_nowhere_else() -> None:
    heatmap = np.zeros((8, 8), np.float32)
    heatmap[2, 5] = 1
    tinted = overlaid(np.full((64, 64), 100, np.uint8), heatmap)
    grey = (tinted == 100).all(axis=2)
    assert grey[40:, :30].all()
    blue, _, red = tinted[20, 44].astype(int)
    assert red > 150 > blue


def test_the_same_figures_give_the_same_plot() -> None:
    rows = {"bins": [{"pictures": 3, "score": 0.2, "defective": 0.1}, {"pictures": 9, "score": 0.9, "defective": 1.0}]}
    assert reliability(rows) == reliability(rows)
    assert "Reliability diagram" in reliability(rows)


def test_the_thresholds_stand_in_the_histogram() -> None:
    judgement = Judgement(Path("a"), "ok", "ok", "ok", 0.1, "")  # type: ignore[arg-type]
    drawn = scores([judgement], ("ok",), {"ok_below": 0.25, "reject_from": 0.75})
    assert "ok under 0.25, reject from 0.75" in drawn
    assert "unsure" in drawn


def test_an_audit_is_read(tmp_path: Path) -> None:
    row = {"level": "note", "check": "copies", "said": "none", "remedy": ""}
    found = {"n": 1, "parts": 1, "fingerprint": "ab", "findings": [row]}
    (tmp_path / "audit.json").write_text(json.dumps(found))
    assert read_audit(tmp_path / "audit.json") == found


@pytest.mark.parametrize("text", ["no json", "[]", '{"findings": [{}]}'])
def test_what_is_no_audit_is_a_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(DataError, match=r"is no audit; expected the file that edge-qc-train audit"):
        read_audit(tmp_path / "audit.json")
