"""The service loop: one camera, one reject gate. Starts the stages in order, stops them in reverse."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from edge_qc.capture.base import Camera
from edge_qc.deadline import Claim, DeadlineGuard
from edge_qc.domain import Frame, Inspection, Outcome, Prediction, Signalled, Verdict
from edge_qc.inspector import Inspector
from edge_qc.observe.logs import FIELDS
from edge_qc.observe.systemd import Notifier
from edge_qc.signal.base import Signal
from edge_qc.trigger.base import Trigger

log = logging.getLogger(__name__)

HEARTBEAT_EVERY_S = 0.19  # 5 Hz, a little early rather than late
STARTING = "starting"


class RecordKeeper(Protocol):
    """What the loop needs of the recorder; no call blocks."""

    def put(self, inspection: Inspection, signalled: Signalled) -> None:
        """Takes an inspection."""
        ...

    def event(self, kind: str, detail: str) -> None:
        """Takes an event."""
        ...


class Panel(Protocol):
    """What the loop tells the operator's panel, and when it lets it change the station."""

    def judged(self, inspection: Inspection) -> None:
        """Takes a part's one verdict; also called from the guard's thread."""
        ...

    def step(self, station: "Station") -> None:
        """Does what the operator wants of the station; called between two parts, every 0.1 s at least."""
        ...


class NoPanel:
    """See ``Panel``: a station without an operator."""

    def judged(self, inspection: Inspection) -> None:
        """See ``Panel``."""

    def step(self, station: "Station") -> None:
        """See ``Panel``."""


NO_PANEL = NoPanel()


@dataclass(frozen=True, slots=True)
class Identity:
    """What every record of a run has in common.

    Attributes:
        session: 8 hexadecimal digits, new at each start.
        station: the station's name.
        model: name and version of the bundle.
    """

    session: str
    station: str
    model: str


class Health:
    """Why the station is degraded, if it is; tells the signal of each change. Called from any thread."""

    def __init__(self, signal: Signal) -> None:
        self._signal, self._lock = signal, threading.Lock()
        self._reasons = {STARTING}

    def set(self, reason: str, *, wrong: bool) -> None:
        """Notes that something is wrong, or well again."""
        with self._lock:
            (self._reasons.add if wrong else self._reasons.discard)(reason)
            reasons = tuple(sorted(self._reasons))
            self._signal.state("degraded" if reasons else "online", reasons)  # under the lock: the newest is said last


class Station:
    """Runs the loop until the source ends or somebody stops it.

    Args:
        identity: session, station, model.
        camera: gives pictures.
        trigger: makes parts of them.
        inspector: judges them.
        signal: tells the PLC.
        records: keeps them.
        health: why the station is degraded, if it is.
        guard: watches every part from its trigger on; shared with a trigger that knows of parts before the loop does.
        max_frame_age_ms: age from which a picture is too old to be judged, milliseconds; None for no limit.
        panel: hears of each verdict, and changes the station between two parts.
        clock: monotonic nanoseconds.

    Attributes:
        paused: while true, parts are ``not_inspected``.
        counts: parts of each outcome so far.
    """

    def __init__(  # noqa: PLR0913 - what is built from a config stands in one list
        self,
        identity: Identity,
        camera: Camera,
        trigger: Trigger,
        inspector: Inspector,
        signal: Signal,
        records: RecordKeeper,
        health: Health,
        *,
        guard: DeadlineGuard | None = None,
        max_frame_age_ms: int | None = None,
        panel: Panel = NO_PANEL,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._identity = identity
        self._camera, self._trigger, self._inspector = camera, trigger, inspector
        self._signal, self._records, self._health, self._clock = signal, records, health, clock
        self._guard = guard or DeadlineGuard()
        self._max_frame_age_ms = max_frame_age_ms
        self._voice = threading.Lock()
        self._notifier = Notifier()
        self._seq = 0
        self._beat_s = 0.0
        self._panel = panel
        self.paused = False
        self.counts = dict.fromkeys(Outcome, 0)

    @property
    def model(self) -> str:
        """Name and version of the bundle that judges."""
        return self._identity.model

    def take_over(self, inspector: Inspector, model: str) -> None:
        """The next part is judged by this inspector, of the bundle with this name and version."""
        self._inspector, self._identity = inspector, replace(self._identity, model=model)
        self._signal.model(model)

    def run(self, stop: threading.Event) -> None:
        """Inspects every part.

        Raises:
            CaptureError: if the source cannot be opened, or is lost.
        """
        with ExitStack() as stages:
            self._guard.start(self._missed)
            stages.callback(self._guard.stop)
            self._camera.open()
            stages.callback(self._camera.close)
            self._records.event("start", f"station {self._identity.station}, model {self._identity.model}")
            stages.callback(self._records.event, "stop", "by intent or at the end of the source")
            self._health.set(STARTING, wrong=False)
            self._notifier.ready(f"inspecting with {self._identity.model}")
            stages.callback(self._notifier.stopping)
            log.info("ready: station %s, session %s, model %s", *self._words())
            self._inspect_all(stop)

    def _inspect_all(self, stop: threading.Event) -> None:
        with closing(self._trigger.parts(self._camera)) as parts:
            for part in parts:
                if part is not None:
                    with self._guard.for_part(part) as claim:
                        if not claim.taken:  # by the guard, while the part waited behind others
                            verdict, prediction = self._inspect(claim)
                            self._conclude(claim, verdict, prediction)
                self._progress()
                if stop.is_set():
                    return

    def _inspect(self, claim: Claim) -> tuple[Verdict, Prediction | None]:
        claim.part = part = claim.part.loaded()
        if self.paused:
            return Verdict.not_inspected("paused", "the operator has paused inspection"), None
        return self._stale(part.frame) or self._inspector.inspect(part)

    def _stale(self, frame: Frame | None) -> tuple[Verdict, None] | None:
        age_ms = 0.0 if frame is None else (self._clock() - frame.captured_ns) / 1e6
        if self._max_frame_age_ms is None or age_ms <= self._max_frame_age_ms:
            return None
        detail = f"the picture is {age_ms:.0f} ms old, at most {self._max_frame_age_ms} ms wanted"
        return Verdict.not_inspected("stale_frame", detail), None

    def _conclude(self, claim: Claim, verdict: Verdict, prediction: Prediction | None) -> None:
        """The one verdict of a part: to the PLC first, then to the record."""
        who = self._identity
        with self._voice:  # verdicts leave in the order in which the parts were claimed
            if not claim.take():
                return
            part, decided_ns = claim.part, self._clock()
            if decided_ns >= part.deadline_ns:
                verdict, prediction = Verdict.not_inspected("overrun", "the verdict came after its deadline"), None
            inspection = Inspection(who.session, part, verdict, prediction, decided_ns, datetime.now(UTC), who.model)
            signalled = self._signal.send(inspection)
            self._records.put(inspection, signalled)
            self._panel.judged(inspection)
            self._seq = max(self._seq, part.seq)
            self.counts[verdict.outcome] += 1
        _log_inspection(inspection, signalled)

    def _missed(self, claim: Claim) -> None:
        self._conclude(claim, claim.missed, None)

    def _progress(self) -> None:
        self._notifier.alive()
        now_s = time.monotonic()
        if now_s - self._beat_s >= HEARTBEAT_EVERY_S:
            self._beat_s = now_s
            self._signal.heartbeat(self._seq)
        self._panel.step(self)

    def _words(self) -> tuple[str, str, str]:
        return self._identity.station, self._identity.session, self._identity.model


def _log_inspection(inspection: Inspection, signalled: Signalled) -> None:
    verdict = inspection.verdict
    log.info(
        "part %s: %s (%s%s) in %.1f ms, %s",
        inspection.part.id,
        verdict.outcome.value,
        verdict.reason,
        "" if verdict.score is None else f", {verdict.label} {verdict.score:.4f}",
        inspection.latency_ms,
        signalled,
        extra={FIELDS: {**inspection.payload(), "signalled": signalled}},
    )
