"""The benchmark as a command: every stage is timed, beside a floor, on a broker and a daemon of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge_qc import bench, bench_turns, cli
from support import edge_qc


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = edge_qc("bench", "--parts", "20", "--json", cwd=tmp_path_factory.mktemp("bench"))
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_every_stage_the_whole_and_the_floor_are_timed(measured: dict[str, Any]) -> None:
    spreads = measured["spreads"]
    assert set(spreads) == {*bench_turns.STAGES, bench_turns.THERE_AND_BACK, bench_turns.END_TO_END, bench_turns.FLOOR}
    assert all(0 < spread["p50_ms"] <= spread["p95_ms"] <= spread["p99_ms"] for spread in spreads.values())


def test_the_floor_holds_what_it_is_made_of_and_no_more(measured: dict[str, Any]) -> None:
    """The message's way is part of the floor, and a picture takes longer through the station than its model alone."""
    p50_ms = {name: spread["p50_ms"] for name, spread in measured["spreads"].items()}
    assert p50_ms[bench_turns.THERE_AND_BACK] < p50_ms[bench_turns.FLOOR]
    assert p50_ms["quantize, invoke"] < p50_ms[bench_turns.END_TO_END]


def test_each_figure_stands_beside_its_aim_and_says_whether_it_holds(measured: dict[str, Any]) -> None:
    figures = {figure["what"]: figure for figure in measured["figures"]}
    ratio = figures["end to end, times the floor, p50"]
    whole, floor = (measured["spreads"][name]["p50_ms"] for name in (bench_turns.END_TO_END, bench_turns.FLOOR))
    assert ratio["measured"] == pytest.approx(whole / floor, abs=0.01)
    assert (ratio["bound"], ratio["holds"]) == ("≤ 1.3", whole / floor <= 1.3)
    assert figures["memory of the daemon (RSS)"]["measured"] > 20
    assert {figure["bound"] for figure in measured["figures"]} == {
        "≤ 1.3", "≤ 2", "≤ 0.5", "≥ 60", "≤ 130", "≤ 1.2", "≤ 3"
    }  # fmt: skip


def test_the_tables_show_what_json_says(measured: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    spreads = {name: bench.Spread(**spread) for name, spread in measured["spreads"].items()}
    figures = tuple(bench.Figure(**figure) for figure in measured["figures"])
    bench.print_tables(bench.Measured(measured["machine"], measured["model"], 20, spreads, figures))
    shown = capsys.readouterr().out
    assert all(name in shown for name in spreads)
    assert all(figure.what in shown and figure.bound in shown for figure in figures)
    assert shown.count("holds") + shown.count("falls short") == len(figures)


def test_without_mosquitto_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "find_mosquitto", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench"])
    assert ended.value.code == 1
    assert "apt-get install mosquitto" in capsys.readouterr().err


def test_a_model_that_is_not_asked_is_no_measurement(tmp_path: Path) -> None:
    """A gate that lets no drawn casting through would make the station look quick."""
    config = tmp_path / "config.yaml"
    config.write_text("quality: {dark_below: 250, bright_above: 255}\n")
    done = edge_qc("bench", "--parts", "2", "--config", config, cwd=tmp_path)
    assert done.returncode == 1
    assert "4 of 4 not_inspected, such as dark" in done.stderr
