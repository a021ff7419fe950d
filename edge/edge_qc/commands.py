"""Commands of an operator: what one must look like, what it is answered, and that none is done twice. Pure."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, cast, get_args

from edge_qc.challenge import Expected
from edge_qc.domain import printable
from edge_qc.signal.inbound import Malformed, read_object

Name = Literal["pause", "resume", "reload", "challenge"]
NAMES: tuple[Name, ...] = get_args(Name)
EXPECTED: tuple[Expected, ...] = get_args(Expected)
MOST_ID_LETTERS = 64
MOST_NAME_LETTERS = 20
REMEMBERED = 256  # answers: a repeat comes within seconds
WITHIN_S, LEAST_S, MOST_S = 60.0, 1.0, 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What ``response`` carries.

    Attributes:
        id: the command's; None where it has none.
        ok: whether it was done.
        command: its name, as far as it has one.
        message: what was done, or what stands in the way.
    """

    id: str | int | None
    ok: bool
    command: str
    message: str

    def payload(self) -> dict[str, Any]:
        """The flat object for MQTT."""
        return {"id": self.id, "ok": self.ok, "command": self.command, "message": self.message}


@dataclass(frozen=True, slots=True)
class Command:
    """What an operator wants.

    Attributes:
        id: the sender's own, 1 to 64 letters or a number; the answer carries it as it came.
        name: ``pause``, ``resume``, ``reload`` or ``challenge``.
        expected: of a challenge, the verdict that the next part must get.
        within_s: of a challenge, seconds within which that part comes.
    """

    id: str | int
    name: Name
    expected: Expected = "reject"
    within_s: float = WITHIN_S

    def answer(self, message: str, *, ok: bool = True) -> Answer:
        """Its answer: what was done, or what stands in the way."""
        return Answer(self.id, ok, self.name, message)


class Refused(Exception):  # noqa: N818 - an answer, no error of ours
    """A payload that is no command that can be done; it carries the answer."""

    def __init__(self, said: dict[str, Any], message: str) -> None:
        super().__init__(message)
        id_, name = said.get("id"), said.get("command")
        known = id_ if _is_number(id_) else printable(id_)[:MOST_ID_LETTERS] if isinstance(id_, str) else None
        named = printable(name)[:MOST_NAME_LETTERS] if isinstance(name, str) else ""
        self.answer = Answer(known, ok=False, command=named, message=printable(message))


def read_command(payload: bytes, *, retained: bool = False) -> Command:
    """The command that a payload is.

    Args:
        payload: as it came.
        retained: whether the broker had kept it: it would be done again at each connection, so it is never done.

    Raises:
        Refused: if it is no command.
    """
    try:
        said = read_object(payload)
    except Malformed as wrong:
        raise Refused({}, str(wrong)) from None
    if retained:
        raise Refused(said, "a retained command would be done again at each connection: publish it without retain")
    id_, name = said.get("id"), said.get("command")
    if not (_is_number(id_) or (isinstance(id_, str) and _is_name(id_))):
        raise Refused(said, f"id: expected 1 to {MOST_ID_LETTERS} printable letters or a number, got {_short(id_)}")
    if name not in NAMES:
        raise Refused(said, f"command: expected one of {', '.join(NAMES)}, got {_short(name)}")
    unknown = said.keys() - {"id", "command"} - ({"expect", "within_s"} if name == "challenge" else set())
    if unknown:
        raise Refused(said, f"{_short(min(unknown))}: no such key of {name}")
    return Command(id_, cast("Name", name), *_challenge(said))


class Answers:
    """The last answers, by id: a command that comes again is answered again, and not done again."""

    def __init__(self) -> None:
        self._given: OrderedDict[str | int, tuple[Command, Answer | None]] = OrderedDict()

    def begin(self, command: Command) -> tuple[bool, Answer | None]:
        """Whether a command is new; if it is not, the answer that it had (None while it is being done)."""
        before = self._given.get(command.id)
        if before is None:
            self._keep(command, None)
            return True, None
        if before[0] != command:
            text = f"id {command.id} was that of another command ({before[0].name}): give each its own"
            return False, command.answer(text, ok=False)
        return False, before[1]

    def end(self, command: Command, answer: Answer) -> None:
        """A command was done, or could not be."""
        self._keep(command, answer)

    def _keep(self, command: Command, answer: Answer | None) -> None:
        self._given[command.id] = command, answer
        if len(self._given) > REMEMBERED:
            self._given.popitem(last=False)


def _challenge(said: dict[str, Any]) -> tuple[Expected, float]:
    expected, within_s = said.get("expect", "reject"), said.get("within_s", WITHIN_S)
    if expected not in EXPECTED:
        raise Refused(said, f"expect: expected {' or '.join(EXPECTED)}, got {_short(expected)}")
    if isinstance(within_s, bool) or not isinstance(within_s, int | float) or not LEAST_S <= within_s <= MOST_S:
        raise Refused(said, f"within_s: expected {LEAST_S:g} to {MOST_S:g} seconds, got {_short(within_s)}")
    return expected, float(within_s)


def _is_number(id_: object) -> TypeGuard[int]:
    return isinstance(id_, int) and not isinstance(id_, bool) and abs(id_) < 2**53


def _is_name(id_: str) -> bool:
    return 0 < len(id_) <= MOST_ID_LETTERS and printable(id_) == id_


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
