"""What the terminal shows of figures."""

from typing import Any

import pytest

from edge_qc_trainer.report import count, interval, percent, print_tables
from metrics_of_runs import measured


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The lines that are printed of figures on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def lines(metrics: dict[str, Any]) -> list[str]:
        print_tables(metrics, "Figures")
        return capsys.readouterr().out.splitlines()

    return lines


def test_a_figure_has_its_interval_on_one_line(shown: Any) -> None:
    line = next(line for line in shown(measured(500, 1500)) if line.startswith("right, pictures"))
    assert line.split()[2:] == ["1,998", "2,000", "99.90", "%", "99.64", "to", "99.99", "%", "–"]


def test_a_class_without_a_picture_has_no_figures(shown: Any) -> None:
    lines = shown(measured(defective=4, good=0))
    assert next(line for line in lines if line.startswith("overkill, parts")).split()[2:] == ["0", "0", "–", "–", "–"]
    of_the_class = [line for line in lines if line.startswith("ok ")][-1]
    assert of_the_class.split() == ["ok", "–", "–", "–", "0"]
    assert not any("macro avg" in line for line in lines)
    assert any(line.startswith("AUC –") for line in lines)


def test_verdicts_are_words(shown: Any) -> None:
    assert "verdicts: 4 ok, 4 reject, 0 unsure, 0 not inspected" in shown(measured())


def test_parts_that_escape_are_counted_whole(shown: Any) -> None:
    assert "escaped: 1 of 4 defective parts in a picture at least, 1 in most, 1 in all" in shown(measured())


def test_what_is_known_of_the_pictures_stands_first(shown: Any) -> None:
    known = "4 of these very pictures were trained on: this is memory, not inspection."
    assert shown({**measured(), "made": {"known": known}})[0] == known


def test_figures_as_text() -> None:
    assert [count(value) for value in (47, 4.61991, 5377)] == ["47", "4.62", "5,377"]
    assert interval({"count": 0, "of": 0, "rate": 0.0, "ci95": [0.0, 1.0]}) == "none measured"
    assert (percent(None), percent(0.0444)) == ("–", "4.44 %")
