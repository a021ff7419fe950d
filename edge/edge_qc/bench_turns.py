"""One picture at a time through the whole station, by turns with the same through a bare loop and stage by stage."""

import json
import math
import multiprocessing
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Self

import numpy as np

from edge_qc.bundle import Bundle
from edge_qc.capture.base import EndOfSource, Shot
from edge_qc.capture.simulated_part import draw_part
from edge_qc.classify.litert import LiteRtClassifier
from edge_qc.config import Config
from edge_qc.decide import decide
from edge_qc.domain import FileStamp, Frame, Inspection, Outcome, Part, Pixels, Prediction, Verdict
from edge_qc.errors import PictureError, SignalError
from edge_qc.quality import QualityGate
from edge_qc.sections import Broker
from edge_qc.signal.link import Link, Message
from edge_qc.signal.mqtt import MqttSignal

DRAWN = 40  # castings, shown again and again
DEFECT_RATE = 0.2
ENLARGED = 2  # 600x600: about the pixels of a 640x480 camera, and a size that the model's must be made from
PAUSE_S = 0.02  # the recorder writes meanwhile: it must not count against what is measured next
HEARD_WITHIN_S, START_WITHIN_S = 5.0, 30.0

GATE = "gate"
STAGES = (
    "fit to the model's size",
    GATE,
    "find the opening, unwrap",
    "quantize, invoke",
    "add up the evidence",
    "decide",
    "send (encode, hand over)",
)
END_TO_END = "picture in memory to verdict received"
FLOOR = "the floor: fit to invoke, and there and back"
THERE_AND_BACK = "to the broker and to a subscriber"


@dataclass(frozen=True, slots=True)
class Heard:
    """One message: its topic, its payload, and monotonic seconds of its arrival."""

    topic: str
    payload: bytes
    at_s: float


class Ear:
    """A subscriber in a process of its own, as a PLC is: it does not wait for the station's interpreter.

    Args:
        broker: where.
        topics: what it hears.

    Attributes:
        heard: all messages so far.
    """

    def __init__(self, broker: Broker, topics: Sequence[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._news, theirs = context.Pipe()
        self._child = context.Process(target=_listen, args=(broker, tuple(topics), theirs), daemon=True)
        self.heard: list[Heard] = []

    def start(self) -> None:
        """Connects.

        Raises:
            SignalError: if that takes too long.
        """
        self._child.start()
        if not self._news.poll(START_WITHIN_S):
            raise SignalError("the benchmark's subscriber does not come up", expected=f"it within {START_WITHIN_S:g} s")
        self._news.recv()

    def stop(self) -> None:
        """Disconnects, and ends the process."""
        self._news.close()
        self._child.join(HEARD_WITHIN_S)

    def wait(self, count: int) -> float:
        """Waits until so many messages came; the monotonic seconds at which the last one did.

        Raises:
            SignalError: if none comes for 5 s.
        """
        while len(self.heard) < count:
            if not self._news.poll(HEARD_WITHIN_S):
                raise SignalError(
                    "the subscriber hears no verdict", expected=f"one within {HEARD_WITHIN_S:g} s", got="none"
                )
            self.heard.append(self._news.recv())
        return self.heard[-1].at_s


def _listen(broker: Broker, topics: tuple[str, ...], news: Connection) -> None:
    """The subscriber's process, until the other end is closed."""
    link = Link(
        broker,
        f"edge-qc-bench-{secrets.token_hex(4)}",
        subscriptions=[(topic, 1) for topic in topics],
        on_up=lambda: news.send(None),
        on_message=lambda message: news.send(Heard(message.topic, message.payload, time.monotonic())),
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the station, which then ends us
    link.start()
    with suppress(EOFError, OSError):
        news.recv()
    link.stop()


class Turns:
    """See ``Camera``. Hands the station one picture at a time, and measures floor and stages between two of them.

    Then it hands over as many again as fast as the station takes them. A context manager: connected within it.

    Args:
        config: of the station.
        bundle: the model.
        parts: how many of each.

    Attributes:
        taken_s: seconds of each stage, of the whole and of the floor, a part each.
        flat_out_s: seconds that the parts took which came as fast as they were taken.
    """

    def __init__(self, config: Config, bundle: Bundle, parts: int) -> None:
        self._parts, self._card = parts, bundle.card
        self._pool = _castings()
        self._fit = self._card.input.fitting().frame
        self._gate = QualityGate(config.quality, self._card.statistics)
        self._classifier = LiteRtClassifier(bundle, config.model.threads)
        root = f"{config.broker.root}/{config.station}"
        self._floor_topic = f"{config.broker.root}/bench/floor"
        self._ear = Ear(config.broker, (f"{root}/verdict", self._floor_topic))
        self._link = Link(config.broker, f"edge-qc-floor-{secrets.token_hex(4)}")
        self._signal = MqttSignal(config.broker, "bench/stages", "00000000", self._card.id)
        self._given = 0
        self._shots = self._run()
        self.taken_s: dict[str, list[float]] = {name: [] for name in (*STAGES, THERE_AND_BACK, FLOOR, END_TO_END)}
        self.flat_out_s = math.inf

    def __enter__(self) -> Self:
        """Connects the subscriber, the floor's link, and the signal that is timed alone.

        Raises:
            SignalError: if the broker does not take them.
        """
        with ExitStack() as stack:
            stack.callback(self.__exit__)
            self._ear.start()
            self._link.start()
            self._signal.start()
            if not (self._link.wait_connected(HEARD_WITHIN_S) and self._signal.wait_connected(HEARD_WITHIN_S)):
                raise SignalError("the benchmark's own Mosquitto takes no connection", got=self._link.why_down)
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnects."""
        self._signal.stop()
        self._link.stop()
        self._ear.stop()

    def open(self) -> None:
        """See ``Camera``."""

    def read(self, timeout_s: float) -> Shot:  # noqa: ARG002 - a picture is always there
        """See ``Camera``: the station calls this when a part is done with and it can take the next."""
        shot = next(self._shots, None)
        if shot is None:
            raise EndOfSource
        return shot

    def release(self, stamp: FileStamp) -> None:
        """See ``Camera``."""

    def close(self) -> None:
        """See ``Camera``."""

    def check(self) -> None:
        """Whether the model was asked at all.

        Raises:
            PictureError: if it was not, for most of the parts.
            SignalError: if the station was stopped before the end.
        """
        if math.isinf(self.flat_out_s):
            raise SignalError("the station was stopped before all was measured")
        verdicts = [json.loads(said.payload) for said in self._ear.heard if said.topic != self._floor_topic]
        missed = [said["reason"] for said in verdicts if said["verdict"] == Outcome.NOT_INSPECTED]
        if len(missed) > len(verdicts) / 2:
            raise PictureError(
                f"{self._card.id} is not asked about drawn castings",
                expected="a bundle whose parts look like them, such as the one that ships",
                got=f"{len(missed)} of {len(verdicts)} not_inspected, such as {missed[0]}",
                remedy="Use --model, or set quality.statistics: false to time the model whatever it is shown",
            )

    def _run(self) -> Iterator[Shot]:
        for turn in range(self._parts):
            pixels = self._pool[turn % DRAWN]
            with suppress(PictureError):  # no opening in it: the station says so, and then `check`
                self._floor(pixels)
                self._stages(pixels)
            heard = self._rest()
            shot, began_s = self._shot(pixels), time.monotonic()
            yield shot
            self.taken_s[END_TO_END].append(self._ear.wait(heard + 1) - began_s)
        heard, began_s = self._rest(), time.monotonic()
        for turn in range(self._parts):
            yield self._shot(self._pool[turn % DRAWN])
        self.flat_out_s = self._ear.wait(heard + self._parts) - began_s

    def _rest(self) -> int:
        """Lets the station come to rest; the messages heard until then."""
        time.sleep(PAUSE_S)
        return len(self._ear.heard)

    def _shot(self, pixels: Pixels) -> Shot:
        self._given += 1
        return Shot(_frame(pixels, self._given))

    def _floor(self, pixels: Pixels) -> None:
        """Preprocess, invoke, publish, and wait for the own message; nothing checked, nothing recorded."""
        payload = self._ear.heard[-1].payload if self._ear.heard else b"{}"  # of the part before: as long as any
        frame, heard = _frame(pixels, 1), self._rest()
        began_s = time.monotonic()
        sheet, _ = self._classifier.prepare(self._fit(frame))
        self._classifier.invoke(sheet)
        sent_s = time.monotonic()
        self._link.publish(Message(self._floor_topic, payload, expiry_s=1))
        at_s = self._ear.wait(heard + 1)
        self.taken_s[FLOOR].append(at_s - began_s)
        self.taken_s[THERE_AND_BACK].append(at_s - sent_s)

    def _stages(self, pixels: Pixels) -> None:
        classifier, thresholds = self._classifier, self._card.thresholds
        self._rest()
        frame = _frame(pixels, 1)
        stamps = [time.monotonic()]
        fitted = self._fit(frame)
        stamps.append(time.monotonic())
        self._gate(fitted)
        stamps.append(time.monotonic())
        sheet, opening = classifier.prepare(fitted)
        stamps.append(time.monotonic())
        classifier.invoke(sheet)
        stamps.append(time.monotonic())
        prediction = classifier.read(opening)
        stamps.append(time.monotonic())
        verdict = decide(prediction, self._card.ok_labels, thresholds.ok_below, thresholds.reject_from)
        stamps.append(time.monotonic())
        self._signal.send(_inspection(frame, prediction, verdict, self._card.id))
        stamps.append(time.monotonic())
        for name, taken in zip(STAGES, np.diff(stamps), strict=True):
            self.taken_s[name].append(float(taken))


def _castings() -> list[Pixels]:
    rng = np.random.default_rng(1)
    drawn = [draw_part(rng, bool(rng.random() < DEFECT_RATE)).pixels for _ in range(DRAWN)]
    return [pixels.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1) for pixels in drawn]


def _frame(pixels: Pixels, seq: int) -> Frame:
    return Frame(pixels, seq, time.monotonic_ns(), datetime.now(UTC), "bench")


def _inspection(frame: Frame, prediction: Prediction, verdict: Verdict, model: str) -> Inspection:
    now_ns = time.monotonic_ns()
    part = Part(frame.seq, str(frame.seq), frame.captured_ns, frame.captured_at, now_ns + 10**9, "bench", frame)
    return Inspection("00000000", part, verdict, prediction, now_ns, datetime.now(UTC), model)
