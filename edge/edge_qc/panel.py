"""The operator's panel: its buttons are the commands, its lamps the alarms and the challenges (docs/operating.md)."""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

from edge_qc.alarms import Alarms
from edge_qc.challenge import Challenge, Kind
from edge_qc.commands import Answer, Answers, Command, Refused, read_command
from edge_qc.domain import Inspection
from edge_qc.errors import EdgeQcError
from edge_qc.inspector import Inspector

log = logging.getLogger(__name__)

PAUSED, DRIFT = "paused", "drift"
MOST_WAITING = 32
MOST_A_STEP = 4  # so that no flood of commands keeps the line from its parts

Loaded = tuple[Inspector, str]


class Controls(Protocol):
    """What the panel may change of a station, between two parts."""

    paused: bool

    @property
    def model(self) -> str:
        """Name and version of the bundle that judges."""
        ...

    def take_over(self, inspector: Inspector, model: str) -> None:
        """The next part is judged by this inspector."""
        ...


class OperatorPanel:
    """Does what the operator commands, and tells what a single verdict does not show.

    Args:
        alarms: over many parts.
        challenge: of single ones.
        load: loads the current bundle anew, for ``reload``: the inspector, and name and version of its bundle. Called
            in a thread of its own.
        on_health: called with a reason to be degraded, and whether it is one.
        on_event: called with kind and detail of what an auditor will ask about.
        respond: sends an answer, if there is a connection.
    """

    def __init__(
        self,
        alarms: Alarms,
        challenge: Challenge,
        load: Callable[[], Loaded],
        on_health: Callable[[str, bool], None],
        on_event: Callable[[str, str], None],
        respond: Callable[[dict[str, Any]], None],
    ) -> None:
        self._alarms, self._challenge, self._load = alarms, challenge, load
        self._on_health, self._on_event, self._respond = on_health, on_event, respond
        self._inbox: queue.Queue[tuple[bytes, bool]] = queue.Queue(MOST_WAITING)
        self._answers = Answers()
        self._reloading = False
        self._loaded: queue.SimpleQueue[tuple[Command, Loaded | Exception]] = queue.SimpleQueue()
        self._complained = False
        self._lock = threading.Lock()  # a part's verdict may come from the guard's thread
        for kind in challenge.wrong:
            on_health(kind.value, True)  # noqa: FBT003 - the recorder's callback has the same shape

    def press(self, payload: bytes, *, retained: bool) -> None:
        """Takes a command; any thread. It is done by the loop, between two parts."""
        try:
            self._inbox.put_nowait((payload, retained))
        except queue.Full:
            self._complain(f"{MOST_WAITING} commands wait already: one more was dropped")

    def judged(self, inspection: Inspection) -> None:
        """Takes a part's one verdict. A challenge part counts for no alarm, nor does one that came during a pause."""
        with self._lock:
            result = self._challenge.judged(inspection)
            if result is not None:
                self._tell_challenge(result.kind, result.detail)
            elif inspection.verdict.reason != PAUSED:
                for change in self._alarms.judged(inspection.verdict.outcome):
                    kind = "alarm" if change.on else "alarm_over"
                    log.log(logging.WARNING if change.on else logging.INFO, "%s: %s", change.alarm, change.detail)
                    self._on_event(kind, f"{change.alarm}: {change.detail}, the last of them {inspection.part.id}")
                    self._on_health(change.alarm, change.on)

    def step(self, station: Controls) -> None:
        """Does the commands that wait; called by the loop, between two parts."""
        with self._lock:
            for change in self._challenge.look():
                self._tell_challenge(change.kind, change.detail)
        if not self._loaded.empty():
            self._end_reload(*self._loaded.get(), station)
        for _ in range(MOST_A_STEP):
            if self._inbox.empty():
                return
            self._take(*self._inbox.get(), station)

    def _take(self, payload: bytes, retained: bool, station: Controls) -> None:  # noqa: FBT001 - as the inbox has it
        try:
            command = read_command(payload, retained=retained)
        except Refused as refused:
            self._complain(f"{refused.answer.id}: {refused}")
            self._respond(refused.answer.payload())
            return
        new, answer = self._answers.begin(command)
        if not new:
            if answer is not None:
                self._respond(answer.payload())
            return
        self._complained = False
        answer = self._do(command, station)
        if answer is not None:
            self._end(command, answer)

    def _do(self, command: Command, station: Controls) -> Answer | None:
        """None for what goes on in the background and is answered later."""
        match command.name:
            case "pause":
                return self._pause(command, station, paused=True)
            case "resume":
                return self._pause(command, station, paused=False)
            case "challenge":
                return self._expect(command, station)
            case "reload":
                return self._begin_reload(command)

    def _pause(self, command: Command, station: Controls, *, paused: bool) -> Answer:
        station.paused = paused
        self._on_health(PAUSED, paused)
        return command.answer("paused: parts are not_inspected until resume" if paused else "inspecting")

    def _expect(self, command: Command, station: Controls) -> Answer:
        if station.paused:
            return command.answer("paused: resume first", ok=False)
        with self._lock:
            ok = self._challenge.expect(str(command.id), command.expected, command.within_s)
        if not ok:
            return command.answer("the part of another challenge is awaited still", ok=False)
        return command.answer(f"the next part must be {command.expected}, within {command.within_s:g} s")

    def _begin_reload(self, command: Command) -> Answer | None:
        if self._reloading:
            return command.answer("another reload is under way", ok=False)
        self._reloading = True
        threading.Thread(target=self._load_anew, args=(command,), name="reload", daemon=True).start()
        return None

    def _load_anew(self, command: Command) -> None:
        try:
            self._loaded.put((command, self._load()))
        except (EdgeQcError, OSError) as error:
            self._loaded.put((command, error))

    def _end_reload(self, command: Command, loaded: Loaded | Exception, station: Controls) -> None:
        self._reloading = False
        before = station.model
        if isinstance(loaded, Exception):
            self._end(command, command.answer(f"{before} goes on: {loaded}", ok=False))
            return
        inspector, model = loaded
        station.take_over(inspector, model)
        if model != before:
            self._on_health(DRIFT, False)  # noqa: FBT003 - of the bundle before; the other's watch tells of its own
        self._on_event("model_changed", f"from {before} to {model}")
        self._end(command, command.answer(f"from {before} to {model}"))

    def _end(self, command: Command, answer: Answer) -> None:
        self._answers.end(command, answer)
        text = f"{command.id}: {command.name}: {answer.message}"
        log.log(logging.INFO if answer.ok else logging.WARNING, "command %s", text)
        self._on_event("command" if answer.ok else "command_refused", text)
        self._respond(answer.payload())

    def _tell_challenge(self, kind: Kind, detail: str) -> None:
        log.log(logging.INFO if kind is Kind.PASSED else logging.ERROR, "%s: %s", kind.value, detail)
        self._on_event(kind.value, detail)
        for wrong in (Kind.FAILED, Kind.MISSED, Kind.DUE):
            self._on_health(wrong.value, wrong in self._challenge.wrong)

    def _complain(self, what: str) -> None:
        """Said once until a good command comes: whoever floods the topic floods neither the log nor the record."""
        if not self._complained:
            self._complained = True
            log.warning("a command was refused: %s", what)
            self._on_event("command_refused", what)
