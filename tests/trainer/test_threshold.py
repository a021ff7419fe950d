"""Decision thresholds from what matters."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_qc.bundle import Thresholds
from edge_qc.domain import Outcome
from edge_qc.sections import Decide
from edge_qc_trainer.cli import cli
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.evaluate import Judgement
from edge_qc_trainer.intervals import upper_bound
from edge_qc_trainer.threshold import Chosen, Policy, choose

OK = ("ok",)
LABELS = ("def", "ok")


def scored(defective: Sequence[float], good: Sequence[float]) -> list[Judgement]:
    pairs = [("def", score) for score in defective] + [("ok", score) for score in good]
    draft = [Judgement(Path("a"), label, Outcome.OK, "ok", s, "", probabilities=(s, 1 - s)) for label, s in pairs]
    return [judgement.decided_anew(LABELS, OK, Thresholds()) for judgement in draft]


def chosen(
    defective: Sequence[float], good: Sequence[float], policy: Policy, groups: Sequence[int] | None = None
) -> Chosen:
    judgements = scored(defective, good)
    return choose(judgements, np.arange(len(judgements)) if groups is None else np.array(groups), OK, policy)


def shares(judgements: Sequence[Judgement], label: str, thresholds: Thresholds) -> tuple[float, float, float]:
    """Shares of the parts of a class that are judged ok, unsure and reject."""
    scores = np.array([judgement.score for judgement in judgements if judgement.label == label])
    ok, reject = (scores < thresholds.ok_below).mean(), (scores >= thresholds.reject_from).mean()
    return float(ok), float(1 - ok - reject), float(reject)


def test_without_options_both_stay_at_a_half() -> None:
    assert not Policy()
    assert chosen([0.9], [0.1], Policy()).thresholds == Thresholds(ok_below=0.5, reject_from=0.5)


def test_between_separate_scores_lies_the_middle_of_their_log_odds() -> None:
    found = chosen([0.9, 0.99], [0.1, 0.2], Policy(max_escape_rate=0.5)).thresholds
    # Odds of 0.2 and 0.9 are 1/4 and 9: their geometric mean is 1.5, a probability of 0.6.
    assert (found.ok_below, found.reject_from) == (pytest.approx(0.6), pytest.approx(0.6))


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_the_device_decides_as_the_choice_counted(one: float, other: float) -> None:
    judgements = scored([one, 0.9995], [other, 0.0005])
    found = choose(judgements, np.arange(4), OK, Policy(cost_escape=1, cost_overkill=1, defect_rate=0.5))
    anew = [judgement.decided_anew(LABELS, OK, found.thresholds) for judgement in judgements]
    assert sum(j.outcome is Outcome.OK for j in anew[:2]) == found.figures["escape"]["count"]
    assert sum(j.outcome is Outcome.REJECT for j in anew[2:]) == found.figures["overkill"]["count"]


def test_too_few_parts_to_show_the_rate_let_none_escape_and_say_so() -> None:
    found = chosen([0.3, 0.9, 0.9], [0.1, 0.2, 0.4], Policy(max_escape_rate=0.01))
    assert 0.2 < found.thresholds.ok_below <= 0.3
    assert found.thresholds.reject_from == 0.5
    assert (found.figures["shown"], found.figures["escape"]["count"]) == (False, 0)
    assert "it takes 299" in found.figures["rule"]


def test_enough_parts_let_as_many_escape_as_the_bound_allows() -> None:
    defective, good = np.linspace(0.01, 0.99, 400), np.linspace(0.005, 0.5, 1000)
    found = chosen(defective, good, Policy(max_escape_rate=0.03))
    escapes = round(found.figures["escape"]["count"])
    assert found.figures["shown"]
    assert upper_bound(escapes, 400, 0.95) <= 0.03 < upper_bound(escapes + 1, 400, 0.95)
    assert shares(scored(defective, good), "def", found.thresholds)[0] == escapes / 400


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.05, 0.2]))
def test_no_other_threshold_within_the_bound_lets_more_good_parts_pass(seed: int, most: float) -> None:
    rng = np.random.default_rng(seed)
    defective, good = rng.beta(4, 2, 160).round(2), rng.beta(2, 4, 80).round(2)
    judgements = scored(defective, good)
    found = choose(judgements, np.arange(240), OK, Policy(max_escape_rate=most)).thresholds
    escape, passed = shares(judgements, "def", found)[0], shares(judgements, "ok", found)[0]
    assert upper_bound(round(escape * 160), 160, 0.95) <= most
    for value in np.unique([judgement.score for judgement in judgements]):
        other = Thresholds(ok_below=value, reject_from=max(0.5, value))
        if shares(judgements, "ok", other)[0] > passed:
            assert upper_bound(round(shares(judgements, "def", other)[0] * 160), 160, 0.95) > most


def test_copies_of_a_part_weigh_as_one() -> None:
    # Fifty copies of one good part score high, one picture of each of ten others scores low.
    defective, good = [0.4] * 10, [0.5] * 50 + [0.1] * 10
    groups = [*range(10), *([10] * 50), *range(11, 21)]
    policy = Policy(cost_escape=1, cost_overkill=2, defect_rate=0.5)
    assert chosen(defective, good, policy, groups).thresholds.ok_below < 0.4
    assert chosen(defective, good, policy).thresholds.ok_below > 0.4


def test_a_dearer_escape_lowers_the_threshold() -> None:
    rng = np.random.default_rng(0)
    defective, good = rng.beta(4, 2, 300), rng.beta(2, 4, 300)
    found = [
        chosen(defective, good, Policy(cost_escape=cost, cost_overkill=1, defect_rate=0.5)).thresholds.ok_below
        for cost in (0.1, 1, 10, 100)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > 2 * found[-1]


@example(128, 1, 0.2, 0.1)  # one score is 1, and no threshold lies above it
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 20]), st.sampled_from([0.2, 3.0]), st.sampled_from([0.1, 0.5]))
def test_no_other_pair_costs_less(seed: int, escape: float, unsure: float, defect_rate: float) -> None:
    rng = np.random.default_rng(seed)
    defective, good = rng.beta(3, 2, 25).round(1), rng.beta(2, 3, 25).round(1)
    policy = Policy(cost_escape=escape, cost_overkill=1, cost_unsure=unsure, defect_rate=defect_rate)
    judgements = scored(defective, good)

    def cost(thresholds: Thresholds) -> float:
        escapes, looks, _ = shares(judgements, "def", thresholds)
        _, wasted_looks, overkill = shares(judgements, "ok", thresholds)
        of_defective, of_good = escape * escapes + unsure * looks, overkill + unsure * wasted_looks
        return defect_rate * of_defective + (1 - defect_rate) * of_good

    found = cost(choose(judgements, np.arange(50), OK, policy).thresholds)
    places = [0.0, *(np.arange(0.5, 10.5) / 10).tolist(), 1.0]
    assert found <= 1e-9 + min(
        cost(Thresholds(ok_below=low, reject_from=high)) for low in places for high in places if low <= high
    )


def test_without_a_cost_of_unsure_none_is_left_unsure() -> None:
    rng = np.random.default_rng(1)
    found = chosen(rng.beta(4, 2, 50), rng.beta(2, 4, 50), Policy(cost_escape=5, cost_overkill=1)).thresholds
    assert found.ok_below == found.reject_from


def test_a_cheap_look_leaves_parts_unsure() -> None:
    rng = np.random.default_rng(1)
    policy = Policy(cost_escape=5, cost_overkill=5, cost_unsure=0.1, defect_rate=0.5)
    found = chosen(rng.beta(4, 2, 50), rng.beta(2, 4, 50), policy)
    assert found.thresholds.ok_below < found.thresholds.reject_from
    assert found.figures["unsure"]["count"] > 0


def test_what_was_not_inspected_has_no_say() -> None:
    dark = Judgement(Path("dark"), "ok", Outcome.NOT_INSPECTED, None, None, "dark")
    judgements = [*scored([0.9], [0.1]), dark]
    found = choose(judgements, np.arange(3), OK, Policy(max_escape_rate=0.5))
    assert found.figures["overkill"]["of"] == 1


def test_parts_of_one_kind_alone_are_an_error() -> None:
    with pytest.raises(DataError, match="1 good and 0 defective"):
        choose(scored([], [0.1]), np.arange(1), OK, Policy(max_escape_rate=0.1))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-escape-rate", "0.01", "--cost-escape", "5"], "exclude each other"),
        (["--cost-escape", "5"], "the cost of both mistakes"),
        (["--cost-unsure", "5"], "the cost of both mistakes"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_the_work(
    run_command: Callable[..., tuple[int, str]], tmp_path: Path, options: list[str], said: str
) -> None:
    status, message = run_command("fit", tmp_path / "none", "--out", tmp_path / "out", *options)
    assert status == 2
    assert said in message


def test_the_command_prints_a_config_that_the_device_takes(run_folder: Path, parts: Path) -> None:
    bundle = str(run_folder / "bundle")
    result = CliRunner().invoke(cli, ["threshold", str(parts), "--model", bundle, "--max-escape-rate", "0.2"])
    assert result.exit_code == 0, result.output
    found = Decide.model_validate(yaml.safe_load(result.stdout)["decide"])
    assert found.ok_below is not None
    assert found.reject_from == max(0.5, found.ok_below)
    assert "of parts: " in result.stdout
