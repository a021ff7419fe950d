"""The configuration: its sections together, read from all its places, all faults reported together.

Options win over ``EDGE_QC_…`` variables, which win over the config file, which wins over the defaults.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ValidationError, model_validator
from pydantic.fields import FieldInfo

from edge_qc.errors import ConfigError
from edge_qc.region import Region
from edge_qc.sections import (
    Alarms,
    Broker,
    CameraProfile,
    Challenge,
    Decide,
    Drift,
    Line,
    Log,
    Modbus,
    Model,
    OpcUa,
    Quality,
    Record,
    Section,
    Source,
    TopicPath,
    Trigger,
)

SEARCHED = (Path("config.yaml"), Path("/etc/edge-qc/config.yaml"))
ENVIRONMENT_PREFIX = "EDGE_QC_"


class Config(Section):
    """Everything that can be set."""

    station: TopicPath = "line1/cam1"
    """One camera and one reject gate; part of every topic."""
    source: Source = Source()
    camera: CameraProfile = CameraProfile()
    model: Model = Model()
    decide: Decide = Decide()
    region: Region | None = None
    """The region of interest; null takes the bundle's, else the whole frame."""
    quality: Quality = Quality()
    drift: Drift = Drift()
    line: Line = Line()
    trigger: Trigger = Trigger()
    alarms: Alarms = Alarms()
    challenge: Challenge = Challenge()
    broker: Broker = Broker()
    modbus: Modbus = Modbus()
    opcua: OpcUa = OpcUa()
    record: Record = Record()
    log: Log = Log()

    @model_validator(mode="after")
    def _trigger_can_be_heard(self) -> Self:
        if self.trigger.kind == "mqtt" and (self.broker.url == "none:" or self.broker.payload != "json"):
            got = f"broker.url {self.broker.url} and broker.payload {self.broker.payload}"
            raise ValueError(f"trigger.kind mqtt: expected a broker, and its payload json, got {got}")
        return self


# What the options and the short variables set (CONTRACT.md).
SHORT_NAMES = {
    "source": ("source", "uri"),
    "model": ("model", "bundle"),
    "broker": ("broker", "url"),
    "station": ("station",),
    "data_dir": ("record", "data_dir"),
    "log_format": ("log", "format"),
}
_NOT_KEYS = {"EDGE_QC_CONFIG", "EDGE_QC_ONCE"}


def load_config(
    options: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """The configuration from all its places.

    Args:
        options: values of the command line by short name; None means not given.
        file: the config file; None looks at ``./config.yaml``, then ``/etc/edge-qc/config.yaml``, then built in.
        environment: the variables; None takes the process's own.

    Raises:
        ConfigError: listing every fault of every place.
    """
    environment = os.environ if environment is None else environment
    faults: list[str] = []
    path = file or next((p for p in SEARCHED if p.is_file()), None)
    tree = {} if path is None else _read_file(path, faults)
    for keys, text, name in _from_environment(environment, faults):
        _put(tree, keys, _parse(text, _field_at(list(keys))), name, faults)
    for name, value in (options or {}).items():
        if value is not None:
            _put(tree, SHORT_NAMES[name], value, f"--{name.replace('_', '-')}", faults)
    where = str(path) if path else "built-in defaults"
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        faults += [_describe(dict(e)) for e in error.errors()]
    if faults:
        raise ConfigError(faults, where=where)
    return config


def _read_file(path: Path, faults: list[str]) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        faults.append(f"{path}: cannot be read: {error.strerror}. Give --config a file that can")
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        faults.append(f"{path}: is not YAML: {' '.join(str(error).split())}")
        return {}
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        faults.append(f"{path}: expected sections such as `source:`, got {type(tree).__name__}")
        return {}
    return tree


def _from_environment(environment: Mapping[str, str], faults: list[str]) -> list[tuple[tuple[str, ...], str, str]]:
    known = {ENVIRONMENT_PREFIX + name.upper(): keys for name, keys in SHORT_NAMES.items()}
    for section, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            for key in field.annotation.model_fields:
                known.setdefault(f"{ENVIRONMENT_PREFIX}{section}_{key}".upper(), (section, key))
    found = []
    for name in sorted(environment):
        if name in known:
            found.append((known[name], environment[name], name))
        elif name.startswith(ENVIRONMENT_PREFIX) and name not in _NOT_KEYS:
            faults.append(f"{name}: no such variable{_suggest(name, known)}")
    return found


def _parse(text: str, field: FieldInfo | None) -> Any:  # noqa: ANN401 - a variable holds any YAML value
    """As YAML would read it, but a key that holds text takes `007` for text."""
    kinds = {field.annotation, *get_args(field.annotation)} if field is not None else set()
    if kinds & {str, Path}:
        return None if text in {"", "null", "~"} and type(None) in kinds else text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return text if isinstance(value, dict) else value


def _put(tree: dict[str, Any], keys: tuple[str, ...], value: Any, name: str, faults: list[str]) -> None:  # noqa: ANN401
    for key in keys[:-1]:
        tree[key] = tree.get(key) or {}
        if not isinstance(tree[key], dict):
            faults.append(f"{name}: section `{key}` of the config file is not a section")
            return
        tree = tree[key]
    tree[keys[-1]] = value


def _describe(error: dict[str, Any]) -> str:
    keys = [str(part) for part in error["loc"]]
    where = ".".join(keys)
    if error["type"] == "extra_forbidden":
        return f"{where}: no such key{_suggest(keys[-1], _keys_at(keys[:-1]))}"
    message = re.sub(r"^Value error, ", "", error["msg"])
    got = error.get("input")
    shown = "" if isinstance(got, dict | BaseModel) or str(got) in message else f", got {got!r}"
    message, shown = (re.sub(r"://[^/@\s]*@", "://…@", text) for text in (message, shown))
    return f"{where or 'config'}: {message[0].lower()}{message[1:]}{shown}{_bounds_help(keys)}"


def _bounds_help(keys: list[str]) -> str:
    field = _field_at(keys)
    return f" ({' '.join(field.description.split())})" if field is not None and field.description else ""


def _field_at(keys: list[str]) -> FieldInfo | None:
    model: type[BaseModel] = Config
    for i, key in enumerate(keys):
        field = model.model_fields.get(key)
        if field is None:
            return None
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) and i + 1 < len(keys):
            model = field.annotation
        else:
            return field
    return None


def _keys_at(keys: list[str]) -> list[str]:
    if not keys:
        return list(Config.model_fields)
    field = _field_at(keys)
    if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        return list(field.annotation.model_fields)
    return []


def _suggest(word: str, known: Any) -> str:  # noqa: ANN401 - any iterable of names
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; expected one of {', '.join(sorted(known))}"
