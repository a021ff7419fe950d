"""The configuration: one frozen section a stage, units in the names, all faults reported together.

Options win over ``EDGE_QC_…`` variables, which win over the config file, which wins over the defaults.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from edge_qc.domain import Outcome
from edge_qc.errors import ConfigError

SEARCHED = (Path("config.yaml"), Path("/etc/edge-qc/config.yaml"))
ENVIRONMENT_PREFIX = "EDGE_QC_"

Milliseconds = Annotated[int, Field(ge=1, le=60_000)]
GreyLevel = Annotated[float, Field(ge=0, le=255)]
Probability = Annotated[float, Field(ge=0, le=1)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Host = Annotated[str, Field(pattern=r"^[^\s/]+$", max_length=253)]
TopicPath = Annotated[str, Field(pattern=r"^[^/+#\x00\s]+(/[^/+#\x00\s]+)*$", max_length=100)]


class Section(BaseModel):
    """A part of the config: frozen, and a key it does not know is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Source(Section):
    """Where pictures come from."""

    uri: Annotated[str, Field(min_length=1)] = "sim:"
    """/dev/video0, /dev/v4l/by-id/…, a folder to watch, a video or picture file, rtsp://…, or
    sim:?parts=20&rate=5&defect_rate=0.2&seed=1"""
    after: Literal["keep", "move"] = "keep"
    """Watch folder: what becomes of a file that was inspected. `move` puts it into `inspected-files/` in the folder."""
    settle_ms: Milliseconds = 500
    """Watch folder: a file that no one was seen to close is taken once it has not changed for so long, milliseconds."""
    rescan_s: Annotated[float, Field(ge=1, le=3600)] = 10.0
    """Watch folder: seconds between looks for files that the kernel did not tell of (network shares)."""
    width_px: Annotated[int, Field(ge=32, le=8192)] = 640
    """Camera: width asked for, pixels."""
    height_px: Annotated[int, Field(ge=32, le=8192)] = 480
    """Camera: height asked for, pixels."""
    rate_hz: Annotated[float, Field(gt=0, le=240)] = 30.0
    """Camera: frames a second asked for."""


class Model(Section):
    """The model."""

    bundle: Path | None = None
    """Bundle folder; null takes the installed current one, then the one that ships."""
    threads: Annotated[int, Field(ge=1, le=4)] = 1
    """Threads of the runtime; one is quickest for a model this small."""


class Decide(Section):
    """From score to verdict. null takes the bundle's thresholds."""

    ok_below: Probability | None = None
    """A part whose score is under this is ok, 0 to 1."""
    reject_from: Probability | None = None
    """A part whose score is this or more is rejected, 0 to 1; between the two it is unsure."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.ok_below is not None and self.reject_from is not None and self.ok_below > self.reject_from:
            raise ValueError(f"ok_below ({self.ok_below:g}) must not exceed reject_from ({self.reject_from:g})")
        return self


class Quality(Section):
    """A frame outside these is not judged: its part is not_inspected."""

    dark_below: GreyLevel = 15.0
    """Mean grey level under which a frame is `dark`, 0 to 255."""
    bright_above: GreyLevel = 245.0
    """Mean grey level over which a frame is `bright`, 0 to 255."""
    flat_below: GreyLevel = 6.0
    """Standard deviation, in grey levels, under which a frame is `flat`: no part, no light or no lens."""


class Line(Section):
    """The line's clock."""

    deadline_ms: Milliseconds = 1000
    """From trigger to verdict, milliseconds. A later verdict never leaves: the part is not_inspected."""


class Broker(Section):
    """The MQTT broker."""

    url: str = "mqtt://127.0.0.1:1883"
    """mqtt://host:1883, mqtts://user@host:8883, `embedded:` (one in this process) or `none:` (send nothing)."""
    root: TopicPath = "edge-qc"
    """First level of every topic."""
    username: str | None = None
    """User name; one in the URL wins."""
    password_file: Path | None = None
    """File whose first line is the password."""
    ca_file: Path | None = None
    """mqtts: the CA that signed the broker's certificate; null takes the system's."""
    certificate_file: Path | None = None
    """mqtts: this station's certificate, PEM."""
    key_file: Path | None = None
    """mqtts: the key of that certificate, PEM."""
    keepalive_s: Annotated[int, Field(ge=2, le=600)] = 5
    """MQTT keep-alive, seconds: the Will of a dead station comes after 1.5 times this."""
    reject_on: tuple[Literal["reject", "unsure", "not_inspected"], ...] = ("reject", "unsure", "not_inspected")
    """Verdicts that also go out on the topic `reject`, and set the reject of Modbus, OPC UA and Sparkplug."""
    payload: Literal["json", "sparkplug_b"] = "json"
    """`json`: the topics of CONTRACT.md. `sparkplug_b`: birth, data and death as Sparkplug B (extra `sparkplug`)."""
    sparkplug_group: Annotated[str, Field(pattern=r"^[^/+#\x00\s]+$", max_length=100)] = "edge-qc"
    """Sparkplug B: group id. The edge node is the station's name, `-` for `/`."""

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if url in ("embedded:", "none:"):
            return url
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == -1:
            raise ValueError(f"expected mqtt://host[:port], mqtts://host[:port], embedded: or none:, got {url!r}")
        if parts.password is not None:
            raise ValueError("no password in the URL, where process lists and logs show it: use broker.password_file")
        return url

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file: expected both or neither")
        if self.url.startswith("mqtt:") and (self.ca_file or self.certificate_file):
            raise ValueError("ca_file and certificate_file are for mqtts://; with an mqtt:// url nothing is encrypted")
        return self

    @property
    def rejected_outcomes(self) -> frozenset[Outcome]:
        """``reject_on`` as outcomes."""
        return frozenset(Outcome(name) for name in self.reject_on)


class Modbus(Section):
    """A Modbus TCP server that a PLC polls (extra `modbus`), beside the broker or with `broker.url: "none:"` alone."""

    enabled: bool = False
    """Whether it runs."""
    host: Host = "127.0.0.1"
    """Address to listen on: this machine's on the PLC's network, not 0.0.0.0: Modbus knows no password."""
    port: Port = 5020
    """TCP port. Modbus's own, 502, needs a privilege (CAP_NET_BIND_SERVICE)."""
    pulse_ms: Milliseconds = 200
    """How long the coils `reject` and `ok` stay set unless the next part comes, milliseconds: two polls at least."""
    poll_timeout_ms: Milliseconds = 1000
    """A PLC that has not read for so long is gone, milliseconds: verdicts are `offline` and are not written."""


class OpcUa(Section):
    """An OPC UA server (extra `opcua`), beside the broker or with `broker.url: "none:"` alone."""

    enabled: bool = False
    """Whether it runs."""
    host: Host = "127.0.0.1"
    """Address to listen on: this machine's on the PLC's network. No encryption, no password, nothing can be written."""
    port: Port = 4840
    """TCP port."""
    pulse_ms: Milliseconds = 200
    """How long the variable `Reject` stays true unless the next part comes, milliseconds."""


class Record(Section):
    """What is kept."""

    data_dir: Path | None = None
    """Folder of records and pictures; null: /var/lib/edge-qc under systemd, else ./edge-qc-data."""
    pictures_of: tuple[Outcome, ...] = (Outcome.REJECT, Outcome.UNSURE, Outcome.NOT_INSPECTED)
    """Verdicts whose pictures are all kept."""
    ok_share: Probability = 0.01
    """Share of the ok parts whose pictures are kept too, 0 to 1."""
    pictures_quota_mb: Annotated[int, Field(ge=0, le=10_000_000)] = 2000
    """Most that pictures may take, MB (10^6 bytes). Beyond it the oldest go, those of ok parts first."""
    free_floor_mb: Annotated[int, Field(ge=0, le=10_000_000)] = 500
    """Free space under which no picture is written, MB."""


class Log(Section):
    """Logs go to standard error."""

    format: Literal["text", "json"] = "text"
    """One line an event, for people or for machines."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least weight that is written."""


class Config(Section):
    """Everything that can be set."""

    station: TopicPath = "line1/cam1"
    """One camera and one reject gate; part of every topic."""
    source: Source = Source()
    model: Model = Model()
    decide: Decide = Decide()
    quality: Quality = Quality()
    line: Line = Line()
    broker: Broker = Broker()
    modbus: Modbus = Modbus()
    opcua: OpcUa = OpcUa()
    record: Record = Record()
    log: Log = Log()


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
