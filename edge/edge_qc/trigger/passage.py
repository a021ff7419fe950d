"""Follows what passes through the region, and says once of each part that it is there, with its best frames. Pure.

A part is found complete in the first frame in which it lies wholly inside the region: that is its trigger. It is
settled as soon as its frames cannot get better: when it is about to leave the middle, stands still, reaches the border
again, or has been waited for long enough. Parts are settled in the order in which they were found.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from edge_qc.domain import Frame, Pixels
from edge_qc.region import Region
from edge_qc.trigger.scene import Blob, Box, Scene

GONE_AFTER = 2  # frames without it: one may flicker
SPLIT_FRAMES = 3  # what comes off a part must stay off for so many frames to be a part of its own
STILL_SHARE = 0.004  # of the region's longer side, a frame: what the reduced picture cannot tell from standing still
PACE_WEIGHT = 0.3  # of the newest frame: the reduced picture's pixels make a slow part go by fits and starts
ABSORB_NS = 20_000_000_000  # what stands still at the border for so long is part of the scene
UNKNOWN_STEP = 0.6  # of the region's longer side: how far a first step may go
SHARPNESS_SIDE_PX = 256

Vector = tuple[float, float]


@dataclass(slots=True, eq=False)
class Passage:
    """One part on its way through.

    Attributes:
        trigger: the frame in which it was found complete; of a part that never was, that in which it is gone.
        frames: its best frames so far, best first; empty where it never lay wholly inside the region.
        settled: whether its frames are all that it gets.
    """

    trigger: Frame
    frames: tuple[Frame, ...] = ()
    settled: bool = False


@dataclass(slots=True, eq=False)
class _Track:
    """One thing that is followed from frame to frame."""

    blob: Blob
    since_ns: int  # since when it stands still
    step: Vector | None = None  # how far it moved with the last frame, pixels
    pace: Vector | None = None  # the same, smoothed
    seen: int = 1
    largest_share: float = 0.0
    missed: int = 0
    piece: bool = False  # it came off another one
    rides: "_Track | None" = None  # it cannot be told from this one at present
    first_touches: tuple[bool, bool, bool, bool] = (False,) * 4
    passage: Passage | None = None  # from when it was found complete
    candidates: list[tuple[float, Frame]] = field(default_factory=list)
    ready: bool = False


class Passages:
    """Turns frames into parts. No I/O, no clock: time is that of the frames.

    Args:
        scene: finds what is not background.
        min_area_share: area of the smallest part, as a share of the region's, 0 to 1.
        votes: frames wanted of each part, 1 or more; fewer where it gives fewer.
        wait_ns: longest wait for better frames after a part was found complete, nanoseconds.
        aim: where in the picture a part is judged: it is seen best in the middle of this; None is the scene's region.
    """

    def __init__(
        self, scene: Scene, min_area_share: float, votes: int, wait_ns: int, aim: Region | None = None
    ) -> None:
        self._scene, self._min_area_share, self._votes, self._wait_ns = scene, min_area_share, votes, wait_ns
        self._aim_region, self._aim = aim, (0.0, 0.0)
        self._tracks: list[_Track] = []
        self._waiting: list[_Track] = []  # found complete and not settled, in that order
        self._found: list[Passage] = []
        self._belt_step: Vector | None = None
        self._size: Vector = (1, 1)
        self._view: Pixels = np.zeros((1, 1), np.uint8)

    @property
    def blind(self) -> str:
        """Why the last frame shows nothing (``dark``, ``covered``), or empty."""
        return self._scene.blind

    def see(self, frame: Frame) -> list[Passage]:
        """The parts that are found with this frame, mostly none; some of those found before may be settled with it.

        Raises:
            PictureError: if the scene's region reaches beyond the picture.
        """
        self._view = self._scene.view(frame.pixels)
        blobs = self._scene.look(self._view, frame.captured_ns)
        if self._scene.blind != "dark":  # in the dark nothing has left: it is only not seen
            self._size = self._view.shape[1], self._view.shape[0]
            self._aim = _middle(self._scene.region, self._aim_region, frame.pixels)
            self._follow(blobs, frame)
        self.settle(frame.captured_ns)
        found, self._found = self._found, []
        return found

    def settle(self, now_ns: int) -> None:
        """Settles the parts that cannot get better or have waited long enough, also while no frame comes."""
        while self._waiting:
            track = self._waiting[0]
            passage = track.passage
            if passage is None or not (track.ready or now_ns - passage.trigger.captured_ns >= self._wait_ns):
                return
            self._waiting.pop(0)
            passage.frames, passage.settled = tuple(frame for _, frame in track.candidates), True
            track.candidates.clear()

    def end(self) -> None:
        """Settles all: the source has ended."""
        for track in self._waiting:
            track.ready = True
        self.settle(0)

    @property
    def _still_px(self) -> float:
        return STILL_SHARE * max(self._size)

    def _follow(self, blobs: Sequence[Blob], frame: Frame) -> None:
        left = self._match(blobs, frame)
        for blob in left:
            parent = next((t for t in self._tracks if t.missed == 0 and _overlap(blob.box, t.blob.box) > 0.5), None)
            track = _Track(blob, frame.captured_ns, piece=parent is not None, first_touches=blob.touches)
            self._tracks.append(track)
            self._judge(track, frame)
        for track in self._tracks:
            if track.missed > GONE_AFTER:
                self._gone(track, frame)
        self._tracks = [t for t in self._tracks if t.missed <= GONE_AFTER]

    def _match(self, blobs: Sequence[Blob], frame: Frame) -> list[Blob]:
        """Gives each track its blob of this frame, the surest pairs first; what is left over is new."""
        pairs = [(self._misfit(t, b), i, j) for i, t in enumerate(self._tracks) for j, b in enumerate(blobs)]
        taken: dict[int, int] = {}
        for misfit, i, j in sorted(pairs):
            if not math.isinf(misfit) and i not in taken and j not in taken.values():
                taken[i] = j
        for i, track in enumerate(self._tracks):
            if i in taken:
                self._move(track, blobs[taken[i]], frame)
        for i, track in enumerate(self._tracks):
            if i not in taken:
                self._miss(track, frame)
        return [blob for j, blob in enumerate(blobs) if j not in taken.values()]

    def _misfit(self, track: _Track, blob: Blob) -> float:
        """How badly a blob fits a track, pixels; infinite where it cannot be the same thing."""
        moved = _displacement(track.blob, blob)
        expected = track.step or self._belt_step
        if expected is None:
            expected, allowed = (0.0, 0.0), UNKNOWN_STEP * max(self._size)
        else:
            extent = max(track.blob.box[2] - track.blob.box[0], track.blob.box[3] - track.blob.box[1])
            allowed = max(0.6 * extent, 1.5 * math.hypot(*expected)) + self._still_px
        expected = (expected[0] * (track.missed + 1), expected[1] * (track.missed + 1))
        misfit = math.hypot(moved[0] - expected[0], moved[1] - expected[1])
        return misfit if misfit <= allowed else math.inf

    def _move(self, track: _Track, blob: Blob, frame: Frame) -> None:
        moved = _displacement(track.blob, blob)
        frames = track.missed + 1
        track.step = moved[0] / frames, moved[1] / frames
        self._belt_step = track.step
        pace = track.pace or track.step
        track.pace = (
            pace[0] + PACE_WEIGHT * (track.step[0] - pace[0]),
            pace[1] + PACE_WEIGHT * (track.step[1] - pace[1]),
        )
        if math.hypot(*moved) > self._still_px:
            track.since_ns = frame.captured_ns
        track.blob, track.missed, track.rides = blob, 0, None
        track.seen += 1
        self._judge(track, frame)

    def _miss(self, track: _Track, frame: Frame) -> None:
        """Not seen: hidden in a larger blob that grew out of two, or on its way out."""
        host = next(
            (t for t in self._tracks if t is not track and t.missed == 0 and t.rides is None
             and _overlap(track.blob.box, t.blob.box) > 0.5), None,
        )  # fmt: skip
        track.missed += host is None
        if host is None:
            track.ready = track.ready or track.missed > GONE_AFTER
            return
        track.rides = host
        if track.passage is not None and host.passage is None:  # one part in two pieces: the first was taken for it
            host.passage, host.candidates, host.ready = track.passage, track.candidates, track.ready
            track.passage, track.candidates, track.ready, track.piece = None, [], False, True
            self._waiting = [host if t is track else t for t in self._waiting]
            self._judge(host, frame)

    def _judge(self, track: _Track, frame: Frame) -> None:
        """What this frame, in which it is seen, means for it."""
        blob = track.blob
        track.largest_share = max(track.largest_share, blob.area_share)
        if track.passage is not None and track.passage.settled:
            return
        if any(blob.touches):
            track.ready = track.passage is not None
            if track.passage is None and frame.captured_ns - track.since_ns > ABSORB_NS:
                self._scene.absorb(blob)
            return
        if blob.area_share < self._min_area_share or (track.piece and track.seen < SPLIT_FRAMES):
            return
        if track.passage is None:
            track.passage = Passage(frame)
            self._found.append(track.passage)
            self._waiting.append(track)
        track.candidates.append((self._score(track), frame))
        track.candidates.sort(key=lambda pair: -pair[0])
        del track.candidates[self._votes :]
        if track.pace is not None and len(track.candidates) >= self._votes:
            now, then = self._off_aim(blob, (0, 0)), self._off_aim(blob, track.pace)
            track.ready = track.ready or then >= now - self._still_px

    def _gone(self, track: _Track, frame: Frame) -> None:
        """It has left. What came in on one side and left on the other without ever lying inside was a part too."""
        first, last = track.first_touches, track.blob.touches
        crossed = any(first[i] and last[(i + 2) % 4] and not last[i] for i in range(4))
        large = track.largest_share >= self._min_area_share
        if track.passage is None and crossed and large and not track.piece and track.rides is None:
            self._found.append(Passage(frame, settled=True))

    def _off_aim(self, blob: Blob, step: Vector) -> float:
        x, y = _centre(blob.box)
        return math.hypot(x + step[0] - self._aim[0], y + step[1] - self._aim[1])

    def _score(self, track: _Track) -> float:
        """Sharp, central, unmoved and whole: comparable between the frames of one part only."""
        blob = track.blob
        half = math.hypot(*self._size) / 2
        extent = max(blob.box[2] - blob.box[0], blob.box[3] - blob.box[1], 1.0)
        central = 1 - 0.7 * min(1.0, self._off_aim(blob, (0, 0)) / half)
        moved = math.hypot(*track.step) / extent if track.step else 0.2
        return _sharpness(self._view, blob.box) * central / (1 + 2 * moved) * blob.area_share


def _sharpness(view: Pixels, box: Box) -> float:
    """Deviation of the second derivative in the middle of a box, grey levels."""
    x, y = _centre(box)
    half_width, half_height = (min(SHARPNESS_SIDE_PX, side) / 2 for side in (box[2] - box[0], box[3] - box[1]))
    top, bottom = max(0, int(y - half_height)), int(y + half_height)
    left, right = max(0, int(x - half_width)), int(x + half_width)
    middle = view[top:bottom, left:right]
    return float(cv2.meanStdDev(cv2.Laplacian(middle, cv2.CV_16S))[1][0, 0])


def _middle(scene: Region | None, aim: Region | None, pixels: Pixels) -> Vector:
    """The middle of ``aim`` within the scene's region, pixels."""
    rows, columns = pixels.shape
    whole = Region(x=0, y=0, width=1, height=1)
    place = [0.0, 0.0]
    for region, part, sign in ((aim or scene or whole, 0.5, 1), (scene or whole, 0.0, -1)):
        across, down = (columns, rows) if region.unit == "share" else (1, 1)
        place[0] += sign * (region.x + part * region.width) * across
        place[1] += sign * (region.y + part * region.height) * down
    return place[0], place[1]


def _centre(box: Box) -> Vector:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _displacement(before: Blob, after: Blob) -> Vector:
    """How far something moved, pixels: by the edges that the region does not cut, else by its middle."""
    moved = []
    for low, high in ((0, 2), (1, 3)):
        free = [after.box[i] - before.box[i] for i in (low, high) if not (before.touches[i] or after.touches[i])]
        if not free:
            free = [after.box[i] - before.box[i] for i in (low, high)]
        moved.append(sum(free) / len(free))
    return moved[0], moved[1]


def _overlap(one: Box, other: Box) -> float:
    """Share of ``one`` that lies within ``other``, 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    area = (one[2] - one[0]) * (one[3] - one[1])
    return max(0.0, width) * max(0.0, height) / area if area > 0 else 0.0
