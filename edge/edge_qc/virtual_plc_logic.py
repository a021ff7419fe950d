"""What a PLC must do with edge-qc's messages, as pure logic: no sockets, no clock of its own (docs/plc.md)."""

import json
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from edge_qc.domain import Outcome

Did = Literal["passed", "rejected", "let_through", "late", "rejected_on_fault", "held"]
OnFault = Literal["count", "stop", "reject"]
HEARTBEAT_TIMEOUT_S = 1.0
# A stopped line runs again so long after its last fault, if the heart beats: the person who presses reset.
RESET_S = 1.0
# Doubles are known for so many parts back. An older one is far outside its part window, so it is never acted on.
REMEMBERED_PARTS = 10_000
MAX_SEQ = 2**53  # what every JSON reader can tell apart
MALFORMED = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class PlcCounts:
    """What the PLC has seen.

    Attributes:
        parts: parts that it heard of, each counted once.
        ok: parts let through on an ``ok`` verdict within their window.
        rejected: parts that the gate removed within their window.
        let_through: parts with another verdict for which no ``reject`` came within their window.
        late: parts whose message came after their window; none of them was acted on.
        doubled: messages for a part that had its message already; none of them was acted on.
        missing: parts that a gap in ``seq`` betrays.
        heartbeat_faults: times that the heartbeat stopped for over 1 s though the station had not said that it stops.
        malformed: messages that could not be understood.
        stops: times that a fault stopped the running line (``on_fault="stop"``).
        held: parts that stood still with the stopped line: neither let pass nor removed.
        rejected_on_fault: parts removed because nothing said in time that they are ok (``on_fault="reject"``): those
            without a message (``missing``), those whose message was ``late`` or had no ``reject``, and all without a
            heartbeat.
        waiting: parts heard of whose window is open and for which nothing was done yet.
    """

    parts: int = 0
    ok: int = 0
    rejected: int = 0
    let_through: int = 0
    late: int = 0
    doubled: int = 0
    missing: int = 0
    heartbeat_faults: int = 0
    malformed: int = 0
    stops: int = 0
    held: int = 0
    rejected_on_fault: int = 0
    waiting: int = 0

    @property
    def acted(self) -> int:
        """Parts that the PLC acted on in time."""
        return self.ok + self.rejected

    @property
    def settled(self) -> int:
        """Parts of which no more is to come."""
        return self.parts - self.waiting


@dataclass(frozen=True, slots=True)
class Action:
    """What the PLC did with a part.

    Attributes:
        session: the daemon's session.
        seq: the part's number in it.
        part: the part's id.
        verdict: ok, reject, unsure or not_inspected.
        reason: the verdict's reason.
        label: the class it rests on.
        score: probability of the defective classes, 0 to 1.
        age_ms: from the capture to the PLC, milliseconds.
        did: what became of the part.
    """

    session: str
    seq: int
    part: str
    verdict: Outcome
    reason: str
    label: str | None
    score: float | None
    age_ms: float
    did: Did


@dataclass(slots=True)
class _Heard:
    """One part: which topics spoke of it, and what was done."""

    captured_at: datetime
    topics: set[str] = field(default_factory=set)
    action: Action | None = None
    waiting: Action | None = None


@dataclass(slots=True)
class _Session:
    """The numbers heard in one session: gaps between ``first`` and ``top`` are missing parts."""

    first: int
    top: int
    distinct: int = 0


class PlcLogic:
    """The PLC's program. Not thread-safe.

    A part is removed when its ``reject`` comes, once, and only within ``window_ms`` of the part's capture. The window
    is measured from the payload's ``captured_at`` on this host's clock, which holds because daemon and virtual PLC
    share it; a wired PLC starts the window at its own trigger and needs no common clock.

    Args:
        window_ms: the part window: after it the part is past the gate, milliseconds.
        utc: the present time, aware of its zone.
        monotonic_s: seconds that never jump, for the heartbeat.
        keep: how many of the last actions to keep.
        on_fault: what to do when it cannot be sure, that is, a heartbeat is missing (also before the first), a gap does
            not close within the window, or a part has no timely ``ok`` or ``reject``. ``stop`` stops the line until
            ``RESET_S`` after the last fault, and nothing passes meanwhile; ``reject`` removes each such part;
            ``count`` counts and acts on the messages alone.
    """

    def __init__(
        self,
        *,
        window_ms: int,
        utc: Callable[[], datetime],
        monotonic_s: Callable[[], float],
        keep: int = 20,
        on_fault: OnFault = "count",
    ) -> None:
        self._window_ms, self._utc, self._monotonic_s = window_ms, utc, monotonic_s
        self._heard: OrderedDict[tuple[str, int], _Heard] = OrderedDict()
        self._waiting: set[tuple[str, int]] = set()
        self._sessions: dict[str, _Session] = {}
        self._tally: Counter[str] = Counter()
        self._beat_s: float | None = None
        self._on_fault = on_fault
        self._runs = on_fault != "stop"  # no part passes before the first heartbeat
        self._fault_s = -math.inf
        self._gap_s: float | None = None
        self._gaps_told = 0
        self.actions: deque[Action] = deque(maxlen=keep)

    def counts(self) -> PlcCounts:
        """The counters now."""
        missing, tally = self._missing(), self._tally
        by_default = missing + tally["late"] if self._on_fault == "reject" else 0
        return PlcCounts(
            parts=tally["parts"],
            ok=tally["passed"],
            rejected=tally["rejected"],
            let_through=tally["let_through"],
            late=tally["late"],
            doubled=tally["doubled"],
            missing=missing,
            heartbeat_faults=tally["heartbeat_faults"],
            malformed=tally["malformed"],
            stops=tally["stops"],
            held=tally["held"],
            rejected_on_fault=tally["rejected_on_fault"] + by_default,
            waiting=len(self._waiting),
        )

    def on_verdict(self, payload: bytes) -> Action | None:
        """A message on ``verdict``. Returns what was done now because of it, None for nothing."""
        return self._on_part("verdict", payload)

    def on_reject(self, payload: bytes) -> Action | None:
        """A message on ``reject``: the gate fires. Returns what was done now because of it, None for nothing."""
        return self._on_part("reject", payload)

    def on_heartbeat(self, payload: bytes) -> None:
        """A message on ``heartbeat``: the loop lives, and ``seq`` tells of parts that were never heard of."""
        try:
            beat = json.loads(payload)
            session, seq = _key(beat, least=0)
        except MALFORMED:
            self._tally["malformed"] += 1
            return
        self._beat_s = self._monotonic_s()
        if self._beat_s - self._fault_s >= RESET_S:
            self._runs = True
        known = self._sessions.setdefault(session, _Session(first=seq + 1, top=seq))
        known.top = max(known.top, seq)

    def on_state(self, payload: bytes) -> None:
        """A message on ``state``: a station that stopped by intent owes no heartbeat.

        The Will's ``offline`` (``connection_lost``) is no excuse: it must be back within the heartbeat's time-out.
        """
        try:
            said = json.loads(payload)
            stopped = said["state"] == "offline" and "connection_lost" not in said.get("reasons", ())
        except MALFORMED:
            self._tally["malformed"] += 1
            return
        if stopped:
            self._beat_s = None

    def tick(self) -> None:
        """Looks at the clock: heartbeat time-outs, and parts that left their window. Call it a few times a second."""
        if self._beat_s is not None and self._monotonic_s() - self._beat_s > HEARTBEAT_TIMEOUT_S:
            self._tally["heartbeat_faults"] += 1
            self._beat_s = None  # until the next beat, so that each silence counts once
            self._fault()
        self._look_at_gaps()
        for key in [k for k in self._waiting if self._age_ms(self._heard[k].captured_at) > self._window_ms]:
            heard = self._heard[key]
            if heard.waiting is not None:
                self._fault()
                self._settle(key, heard, replace(heard.waiting, did=self._unsure("let_through")))

    def _missing(self) -> int:
        return sum(max(0, s.top - s.first + 1 - s.distinct) for s in self._sessions.values())

    def _look_at_gaps(self) -> None:
        """A gap is a fault once the window of its parts is over: until then their messages may still come."""
        missing, now_s = self._missing(), self._monotonic_s()
        if missing <= self._gaps_told:
            self._gap_s, self._gaps_told = None, missing
        elif self._gap_s is None:
            self._gap_s = now_s
        elif now_s - self._gap_s > self._window_ms / 1000:
            self._gap_s, self._gaps_told = None, missing
            self._fault()

    def _fault(self) -> None:
        """The PLC can no longer be sure: the line stops, where that is what it does."""
        self._fault_s = self._monotonic_s()
        if self._on_fault == "stop" and self._runs:
            self._runs = False
            self._tally["stops"] += 1

    def _alive(self) -> bool:
        return self._beat_s is not None and self._monotonic_s() - self._beat_s <= HEARTBEAT_TIMEOUT_S

    def _sure(self, did: Did) -> Did:
        """What becomes of a part with a timely message: ``did``, unless a fault forbids it."""
        if self._on_fault == "stop" and not (self._runs and self._alive()):
            return "held"
        if self._on_fault == "reject" and did == "passed" and not self._alive():
            return "rejected_on_fault"
        return did

    def _unsure(self, did: Did) -> Did:
        """What becomes of a part that nothing was said of in time: ``did`` where the PLC only counts."""
        by_mode: dict[OnFault, Did] = {"count": did, "stop": "held", "reject": "rejected_on_fault"}
        return by_mode[self._on_fault]

    def _on_part(self, topic: str, payload: bytes) -> Action | None:
        try:
            message, captured_at = _parse(payload, self._age_ms)
        except MALFORMED:
            self._tally["malformed"] += 1
            return None
        if topic == "reject" and message.verdict is Outcome.OK:
            self._tally["malformed"] += 1
            return None
        key = (message.session, message.seq)
        heard = self._hear(key, captured_at)
        contradicts = heard.action is not None and heard.action.verdict is not message.verdict
        if topic in heard.topics or contradicts:
            self._tally["doubled"] += 1
            return None
        heard.topics.add(topic)
        if heard.action is not None:
            return self._after_the_act(key, heard, topic, message)
        if abs(message.age_ms) > self._window_ms:
            self._fault()
            return self._settle(key, heard, replace(message, did="late"))
        return self._act(key, heard, topic, message)

    def _act(self, key: tuple[str, int], heard: _Heard, topic: str, message: Action) -> Action | None:
        if topic == "reject":
            return self._settle(key, heard, replace(message, did=self._sure("rejected")))
        if message.verdict is Outcome.OK:
            return self._settle(key, heard, replace(message, did=self._sure("passed")))
        heard.waiting = message
        self._waiting.add(key)
        return None

    def _after_the_act(self, key: tuple[str, int], heard: _Heard, topic: str, message: Action) -> Action | None:
        """The other topic's message for a settled part changes nothing, but a late reject is told."""
        unsure = self._unsure("let_through")
        if topic == "reject" and heard.action is not None and heard.action.did == unsure != "held":
            self._tally[unsure] -= 1
            return self._settle(key, heard, replace(message, did="late"))
        return None

    def _settle(self, key: tuple[str, int], heard: _Heard, action: Action) -> Action:
        heard.action, heard.waiting = action, None
        self._waiting.discard(key)
        self._tally[action.did] += 1
        self.actions.append(action)
        return action

    def _hear(self, key: tuple[str, int], captured_at: datetime) -> _Heard:
        known = self._heard.get(key)
        if known is not None:
            return known
        self._tally["parts"] += 1
        session, seq = key
        numbers = self._sessions.setdefault(session, _Session(first=seq, top=seq))
        numbers.first, numbers.top = min(numbers.first, seq), max(numbers.top, seq)
        numbers.distinct += 1
        heard = self._heard[key] = _Heard(captured_at)
        if len(self._heard) > REMEMBERED_PARTS:
            forgotten, _ = self._heard.popitem(last=False)
            self._waiting.discard(forgotten)
        return heard

    def _age_ms(self, captured_at: datetime) -> float:
        return (self._utc() - captured_at).total_seconds() * 1000


def _key(said: dict[str, Any], *, least: int) -> tuple[str, int]:
    """Session and number of a part.

    Raises:
        ValueError: if they are not text and a whole number from ``least``.
    """
    session, seq = said["session"], said["seq"]
    if not isinstance(session, str) or type(seq) is not int or not least <= seq < MAX_SEQ:
        raise ValueError(f"expected a session and a seq from {least}, got {session!r} and {seq!r}")
    return session, seq


def _parse(payload: bytes, age_ms: Callable[[datetime], float]) -> tuple[Action, datetime]:
    """The payload of ``verdict`` and ``reject`` (CONTRACT.md, MQTT).

    Raises:
        ValueError: or another of ``MALFORMED``, if it is not one.
    """
    said: dict[str, Any] = json.loads(payload)
    captured_at = datetime.fromisoformat(said["captured_at"]).astimezone(UTC)
    session, seq = _key(said, least=1)
    label, score = said.get("label"), said.get("score")
    message = Action(
        session=session,
        seq=seq,
        part=str(said["part"]),
        verdict=Outcome(said["verdict"]),
        reason=str(said["reason"]),
        label=None if label is None else str(label),
        score=None if score is None else float(score),
        age_ms=age_ms(captured_at),
        did="passed",
    )
    return message, captured_at
