"""What a command must look like, and what it is answered."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.commands import REMEMBERED, Answer, Answers, Command, Refused, read_command
from edge_qc.signal.inbound import MAX_PAYLOAD_BYTES
from edge_qc.signal.mqtt import encode

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=80)
JSON = st.recursive(SCALARS, lambda kids: st.lists(kids) | st.dictionaries(st.text(), kids), max_leaves=10)
KEYS = st.sampled_from(["id", "command", "expect", "within_s", "x", "\ud800"])
VALUES = JSON | st.sampled_from(["pause", "challenge", "reject", "x" * 64, '"' * 64, "Ä" * 64, 5, 60.0])


def _payload(**said: Any) -> bytes:
    return json.dumps(said).encode()


def _refused(payload: bytes, *, retained: bool = False) -> Answer:
    with pytest.raises(Refused) as refused:
        read_command(payload, retained=retained)
    return refused.value.answer


@pytest.mark.parametrize("id_", ["7", "Ä-17", "x" * 64, 0, 17, -1])
@pytest.mark.parametrize("name", ["pause", "resume", "reload", "challenge"])
def test_a_command_has_a_name_and_an_id_of_the_senders_own(id_: str | int, name: str) -> None:
    command = read_command(_payload(id=id_, command=name))
    assert (command.id, command.name) == (id_, name)


def test_a_challenge_expects_a_reject_within_a_minute_unless_it_says_otherwise() -> None:
    assert read_command(_payload(id="1", command="challenge")) == Command("1", "challenge", "reject", 60.0)
    said = _payload(id="1", command="challenge", expect="ok", within_s=5)
    assert read_command(said) == Command("1", "challenge", "ok", 5.0)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"command": "pause"}, "id: expected 1 to 64 printable letters or a number, got None"),
        ({"id": "", "command": "pause"}, "id: expected"),
        ({"id": "a\nb", "command": "pause"}, "id: expected"),
        ({"id": "x" * 65, "command": "pause"}, "id: expected"),
        ({"id": True, "command": "pause"}, "id: expected"),
        ({"id": 2**53, "command": "pause"}, "id: expected"),
        ({"id": "1"}, "command: expected one of pause, resume, reload, challenge, got None"),
        ({"id": "1", "command": "stop"}, "got 'stop'"),
        ({"id": "1", "command": ["pause"]}, "got ['pause']"),
        ({"id": "1", "command": "pause", "expect": "ok"}, "'expect': no such key of pause"),
        ({"id": "1", "command": "challenge", "exepct": "ok"}, "'exepct': no such key of challenge"),
        ({"id": "1", "command": "challenge", "expect": "unsure"}, "expect: expected reject or ok, got 'unsure'"),
        ({"id": "1", "command": "challenge", "within_s": 0}, "within_s: expected 1 to 3600 seconds, got 0"),
        ({"id": "1", "command": "challenge", "within_s": float("nan")}, "within_s: expected"),
        ({"id": "1", "command": "challenge", "within_s": True}, "within_s: expected"),
        ({"id": "1", "command": "challenge", "within_s": "60"}, "within_s: expected"),
    ],
)
def test_what_is_wrong_with_a_command_is_said_with_its_id_as_far_as_it_has_one(
    said: dict[str, Any], message: str
) -> None:
    answer = _refused(_payload(**said))
    assert not answer.ok
    assert message in answer.message
    assert answer.id in (said.get("id"), None) or str(said["id"]).startswith(str(answer.id)[:1])


@pytest.mark.parametrize("payload", [b"", b"pause", b"\xff\xfe", b"[1]", b'"pause"', b"[" * 4000, b" " * 4097])
def test_what_is_no_json_object_of_4_kb_at_most_is_refused(payload: bytes) -> None:
    answer = _refused(payload)
    assert (answer.id, answer.ok, answer.command) == (None, False, "")
    assert "expected" in answer.message


def test_a_payload_of_exactly_4_kb_is_read() -> None:
    payload = _payload(id="1", command="pause").ljust(MAX_PAYLOAD_BYTES)
    assert read_command(payload).name == "pause"


def test_a_retained_command_is_never_done_for_it_would_come_back_with_each_connection() -> None:
    answer = _refused(_payload(id="1", command="pause"), retained=True)
    assert (answer.id, answer.command) == ("1", "pause")
    assert "retained" in answer.message


@given(st.binary(max_size=300) | JSON.map(json.dumps).map(str.encode), st.booleans())
def test_no_payload_does_anything_but_be_read_or_refused(payload: bytes, retained: bool) -> None:
    try:
        command = read_command(payload, retained=retained)
    except Refused as refused:
        answer = refused.answer
    else:
        answer = command.answer("done")
    assert len(encode(answer.payload(), cut="message")) <= 512


@given(st.dictionaries(KEYS, VALUES), st.text(max_size=2000))
def test_an_answer_fits_into_512_bytes_and_names_the_command_it_is_to(said: dict[str, Any], message: str) -> None:
    try:
        command = read_command(json.dumps(said).encode())
    except Refused as refused:
        answer = refused.answer
    else:
        answer = command.answer("".join(c for c in message if c.isprintable()))
        assert answer.id == said["id"]
    data = encode(answer.payload(), cut="message")
    assert len(data) <= 512
    sent = json.loads(data)
    assert list(sent) == ["id", "ok", "command", "message"]
    assert sent["id"] is None or len(str(sent["id"])) <= 64


def test_a_repeated_id_is_answered_as_it_was_and_is_not_new() -> None:
    answers, pause = Answers(), Command("1", "pause")
    assert answers.begin(pause) == (True, None)
    assert answers.begin(pause) == (False, None)  # still being done: its one answer comes
    answers.end(pause, pause.answer("paused"))
    assert answers.begin(pause) == (False, pause.answer("paused"))


def test_an_id_that_was_another_commands_is_refused() -> None:
    answers, pause = Answers(), Command("1", "pause")
    answers.begin(pause)
    answers.end(pause, pause.answer("paused"))
    new, answer = answers.begin(Command("1", "resume"))
    assert not new
    assert answer is not None
    assert (answer.ok, answer.command) == (False, "resume")
    assert "another command" in answer.message


def test_however_many_commands_come_only_the_last_are_remembered() -> None:
    answers = Answers()
    for id_ in range(REMEMBERED + 10):
        answers.begin(Command(id_, "pause"))
    assert len(answers._given) == REMEMBERED
    assert answers.begin(Command(REMEMBERED, "pause"))[0] is False
    assert answers.begin(Command(0, "pause"))[0] is True
