"""The sections of the configuration: one frozen class a stage, units in the names, bounds beside the field."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_qc.domain import Outcome
from edge_qc.region import Region

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
    """/dev/video0, /dev/v4l/by-id/…, picamera:0, a folder to watch, a video or picture file, rtsp://…, or
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


class CameraProfile(Section):
    """A camera's controls, and when its silence is a fault."""

    controls: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], int | float] = {}
    """Controls held at these values, by the names of `edge-qc camera show`; `edge-qc camera tune` finds the values. For
    picamera:, libcamera's names: ExposureTime (microseconds), AnalogueGain, LensPosition."""
    check_every_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Seconds between looks whether the controls still are what they should be."""
    silence_ms: Milliseconds | None = 1000
    """No frame for so long, or for three frames' time if that is longer: the camera is lost, and is taken up anew,
    milliseconds. null for a camera that is triggered by wire, which may be silent for good reason."""


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
    """A frame outside these is not judged: its part is not_inspected. null takes the bundle's bound."""

    dark_below: GreyLevel = 15.0
    """Mean grey level under which a frame is `dark`, 0 to 255."""
    bright_above: GreyLevel = 245.0
    """Mean grey level over which a frame is `bright`, 0 to 255."""
    flat_below: GreyLevel = 6.0
    """Standard deviation, in grey levels, under which a frame is `flat`: no part, no light or no lens."""
    clipped_above: Probability = 0.75
    """Share of the pixels at 0 or 255 over which a frame is `clipped`, 0 to 1."""
    statistics: bool = True
    """Whether frames are compared with the bundle's statistics: `blurred`, `misaligned`, `missing` and `unlike`."""
    blurred_below: Annotated[float, Field(ge=0, le=10)] | None = None
    """Mean difference of neighbouring pixels, in standard deviations, under which a frame is `blurred`; 0 is never."""
    misaligned_above: Annotated[float, Field(ge=0, le=2)] | None = None
    """Distance between the middle of the frame's edges and its own middle, as a share of half its side, over which it
    is `misaligned`; 2 is never."""
    missing_below: Annotated[float, Field(ge=-2, le=1)] | None = None
    """Correlation of the light from the middle out with that of the training pictures under which a part is `missing`;
    -2 is never."""
    unlike_above: Annotated[float, Field(gt=0)] | None = None
    """Squared Mahalanobis distance from the training pictures over which a frame is `unlike` them."""


class Drift(Section):
    """A control chart (EWMA) of the light, the contrast and the sharpness of the judged frames.

    A lamp that ages or a glass that gets dirty makes the station degraded before it costs a verdict.
    """

    enabled: bool = True
    """Whether it is kept."""
    learn_frames: Annotated[int, Field(ge=50, le=100_000)] = 500
    """Judged frames that make the reference, which is kept in the data folder until the model or the source changes."""
    memory: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Weight of the newest frame in the moving average (lambda of the chart), over 0 to 1."""
    limit_sigmas: Annotated[float, Field(ge=2, le=20)] = 6.0
    """How far the moving average may go from the reference, in its standard deviations (L of the chart)."""
    least_change: Annotated[float, Field(ge=0, le=1)] = 0.1
    """A smaller change is never an alarm, however steady the reference was; a share of the reference, 0 to 1."""


class Line(Section):
    """The line's clock."""

    deadline_ms: Milliseconds = 1000
    """From trigger to verdict, milliseconds. A later verdict never leaves: the part is not_inspected."""


class Trigger(Section):
    """What says that a part is in front of the camera."""

    kind: Literal["every_frame", "mqtt", "presence", "gpio"] = "every_frame"
    """`every_frame`: each picture is a part: folders, files, a camera that is triggered by wire. `mqtt`: a message on
    the topic `trigger`; the camera runs on its own. `presence`: whatever passes through the picture or stops in it.
    `gpio`: a photo-eye on a pin (extra `pi`)."""
    votes: Annotated[int, Field(ge=1, le=9)] = 1
    """Frames of a part that vote on it, where the trigger gives several: 1 to 9."""
    region: Region | None = None
    """Presence: where in the frame parts are looked for; null is all of it. A part must lie wholly inside to be one."""
    min_area_share: Annotated[float, Field(ge=0.001, le=0.9)] = 0.05
    """Presence: area of the smallest part, as a share of the region's: half a part's area is a good value."""
    difference_levels: Annotated[float, Field(ge=3, le=200)] = 20.0
    """Presence: difference from the bare background from which a pixel belongs to a part, grey levels."""
    gpio_pin: Annotated[int, Field(ge=0, le=27)] = 17
    """GPIO: the pin, by Broadcom's number (GPIO17 is pin 11 of the header)."""
    gpio_edge: Literal["rising", "falling"] = "rising"
    """GPIO: which edge says that a part has come."""
    gpio_pull: Literal["none", "up", "down"] = "down"
    """GPIO: the pin's own resistor; `none` where the photo-eye drives both levels."""
    debounce_ms: Annotated[int, Field(ge=0, le=10_000)] = 5
    """GPIO: an edge counts if the pin was quiet for so long before it, milliseconds."""
    queue: Annotated[int, Field(ge=1, le=1000)] = 100
    """Parts that may wait for their verdicts, each with its picture; beyond it the oldest is not_inspected."""
    max_frame_age_ms: Milliseconds | None = None
    """Age from which a picture is too old to be judged, milliseconds: its part is not_inspected, `stale_frame`. null:
    the deadline is limit enough."""


class Alarms(Section):
    """What makes the station `degraded` over many parts; 0 is off. Challenge parts and pauses do not count."""

    rejects_in_row: Annotated[int, Field(ge=0, le=1000)] = 0
    """Rejects in a row, parts; over again after as many ok parts in a row."""
    reject_rate: Probability = 0.0
    """Share of rejects in the last `window_parts` parts, 0 to 1; over again at half of it."""
    not_inspected_rate: Probability = 0.0
    """Share of not_inspected in the last `window_parts` parts, 0 to 1; over again at half of it."""
    window_parts: Annotated[int, Field(ge=2, le=10_000)] = 100
    """Parts that the rates are of."""


class Challenge(Section):
    """Known bad or good parts that show whether the station still finds them (command `challenge`)."""

    every_h: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Hours after which a station without a passed challenge is `degraded` (`challenge_due`); 0 is never."""


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
