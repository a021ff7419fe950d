"""One config, from all its places; every fault at once."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.config import Config, load_config
from edge_qc.errors import ConfigError
from edge_qc.sections import Section

ROOT = Path(__file__).parents[2]


def _load(tmp_path: Path, text: str = "", options: dict[str, Any] | None = None, **environment: str) -> Config:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return load_config(options, file=file, environment=environment)


def _faults(tmp_path: Path, text: str = "", options: dict[str, Any] | None = None, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text, options, **environment)
    return list(caught.value.faults)


def test_the_commented_example_is_the_default() -> None:
    assert load_config(file=ROOT / "config.yaml", environment={}) == Config()


def test_the_example_names_every_key() -> None:
    example = yaml.safe_load((ROOT / "config.yaml").read_text())
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            assert set(example[name]) == set(field.annotation.model_fields), name


def test_the_schema_for_editors_is_up_to_date() -> None:
    schema = json.loads((ROOT / "docs" / "config.schema.json").read_text())
    assert schema == json.loads(json.dumps(Config.model_json_schema())), (
        "edge-qc config --schema > docs/config.schema.json"
    )


def test_options_win_over_variables_which_win_over_the_file(tmp_path: Path) -> None:
    text = "broker: {url: 'mqtt://file', root: file}\nstation: file/1\n"
    config = _load(tmp_path, text, {"broker": "none:"}, EDGE_QC_BROKER="embedded:", EDGE_QC_STATION="variable/1")
    assert (config.broker.url, config.station, config.broker.root) == ("none:", "variable/1", "file")


def test_a_variable_reaches_every_key(tmp_path: Path) -> None:
    config = _load(tmp_path, EDGE_QC_LINE_DEADLINE_MS="200", EDGE_QC_BROKER_REJECT_ON="[reject]")
    assert config.line.deadline_ms == 200
    assert config.broker.reject_on == ("reject",)


def test_all_faults_are_told_together(tmp_path: Path) -> None:
    text = "source: {uir: x}\nline: {deadline_ms: 0}\nlog: {format: xml}\n"
    faults = _faults(tmp_path, text, EDGE_QC_BROKR="x")
    assert len(faults) == 4


def test_an_unknown_key_comes_with_a_suggestion(tmp_path: Path) -> None:
    assert _faults(tmp_path, "source: {uir: x}") == ["source.uir: no such key; did you mean uri?"]


def test_a_value_out_of_range_says_its_bound_and_what_it_was(tmp_path: Path) -> None:
    (fault,) = _faults(tmp_path, "line: {deadline_ms: 90000}")
    assert "line.deadline_ms" in fault
    assert "60000" in fault
    assert "90000" in fault


def test_a_file_that_is_no_yaml_is_said(tmp_path: Path) -> None:
    assert "is not YAML" in _faults(tmp_path, "a: [")[0]


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(file=tmp_path / "none.yaml", environment={})


def test_thresholds_must_be_in_order(tmp_path: Path) -> None:
    assert "must not exceed" in _faults(tmp_path, "decide: {ok_below: 0.7, reject_from: 0.3}")[0]


@pytest.mark.parametrize("url", ["http://x", "mqtt://", "mqtt://h:99999", "broker", "mqtt://user:secret@h"])
def test_a_broker_url_that_cannot_work_is_refused(tmp_path: Path, url: str) -> None:
    (fault,) = _faults(tmp_path, options={"broker": url})
    assert fault.startswith("broker.url")


@pytest.mark.parametrize("station", ["line+", "a//b", "/a", "a/#", "a b", ""])
def test_a_station_that_is_no_topic_is_refused(tmp_path: Path, station: str) -> None:
    assert _faults(tmp_path, options={"station": station})[0].startswith("station")


KEYS = st.sampled_from(["source", "line", "broker", "uri", "url", "x"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
TREES = st.recursive(LEAVES, lambda x: st.lists(x, max_size=3) | st.dictionaries(KEYS, x, max_size=3))


@given(TREES)
def test_whatever_a_file_holds_it_is_a_config_or_its_faults(
    tmp_path_factory: pytest.TempPathFactory, tree: Any
) -> None:
    try:
        faults = _load(tmp_path_factory.mktemp("any"), yaml.safe_dump(tree)) and None
    except ConfigError as error:
        faults = error.faults
    assert faults is None or all(faults)


@pytest.mark.parametrize(("name", "value"), [("EDGE_QC_STATION", "12"), ("EDGE_QC_BROKER_USERNAME", "007")])
def test_a_variable_that_looks_like_a_number_is_text_where_text_is_wanted(
    tmp_path: Path, name: str, value: str
) -> None:
    config = _load(tmp_path, **{name: value})
    assert value in {config.station, config.broker.username}


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    assert _faults(tmp_path, options={"source": ""})[0].startswith("source.uri")


def test_a_password_in_the_url_is_not_shown_by_the_error_that_forbids_it(tmp_path: Path) -> None:
    assert "s3cret" not in str(_faults(tmp_path, options={"broker": "mqtt://cam1:s3cret@host"}))


def test_tls_files_without_tls_are_refused(tmp_path: Path) -> None:
    (fault,) = _faults(tmp_path, "broker: {url: 'mqtt://h', ca_file: /ca.pem}")
    assert "mqtts://" in fault
