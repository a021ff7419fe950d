"""Slow drift is told before it costs a verdict, and steady noise is never called drift."""

from pathlib import Path

import numpy as np
import pytest

from edge_qc.assembly import build_drift_watch
from edge_qc.bundle import SHIPPED, load_bundle
from edge_qc.capture.simulated_part import draw_part
from edge_qc.config import Config
from edge_qc.domain import Pixels
from edge_qc.drift import WATCHED, Drifted, DriftWatch, Reference
from edge_qc.features import Features
from edge_qc.quality import QualityFault, QualityGate
from edge_qc.record.reference import REFERENCE_FILE, ReferenceFile
from edge_qc.sections import Drift, Quality
from fakes import frame

NOTHING = np.zeros(7)


def _features(level: float, contrast: float = 50, sharpness: float = 0.08) -> Features:
    return Features(level, contrast, 0.0, sharpness, 0.0, NOTHING, NOTHING)


def _autocorrelated(seed: int, frames: int, share: float) -> np.ndarray:
    """Noise of deviation 1, of which ``share`` stays from frame to frame: (frames,)."""
    steps = np.random.default_rng(seed).standard_normal(frames) * np.sqrt(1 - share**2)
    values = np.empty(frames)
    last = 0.0
    for place, step in enumerate(steps):
        values[place] = last = share * last + step
    return values


@pytest.mark.parametrize("share", [0.0, 0.9], ids=["independent", "autocorrelated"])
def test_steady_noise_over_50_000_frames_is_no_alarm(share: float) -> None:
    alarms: list[Drifted] = []
    # No least change: the chart's own limits must do.
    watch = DriftWatch(Drift(least_change=0), changed=alarms.append)
    levels = 150 + 12 * _autocorrelated(1, 50_000, share)
    contrasts = 50 + 6 * _autocorrelated(2, 50_000, share)
    for level, contrast in zip(levels, contrasts, strict=True):
        watch.add(_features(level, contrast))
    assert alarms == []


def test_a_shift_of_one_deviation_that_stays_is_found_within_a_few_hundred_frames() -> None:
    alarms: list[Drifted] = []
    watch = DriftWatch(Drift(least_change=0), changed=alarms.append)
    noise = 150 + 12 * _autocorrelated(3, 1200, 0)
    for place, level in enumerate(noise):
        watch.add(_features(level - (12 if place >= 500 else 0)))
    assert [alarm.statistic for alarm in alarms] == ["level"]
    assert alarms[0].out


def test_a_change_too_small_to_matter_is_no_alarm_however_steady_the_line() -> None:
    alarms: list[Drifted] = []
    watch = DriftWatch(Drift(learn_frames=50), changed=alarms.append)
    for level in [150.0] * 50 + [140.0] * 2000:
        watch.add(_features(level))
    assert alarms == []


def test_an_alarm_ends_once_the_statistic_is_well_within_its_limits_again() -> None:
    changes: list[Drifted] = []
    watch = DriftWatch(Drift(learn_frames=50), changed=changes.append)
    for level in [150.0] * 50 + [100.0] * 500:
        watch.add(_features(level))
    assert watch.out == {"level"}
    for _ in range(500):
        watch.add(_features(150.0))
    assert watch.out == frozenset()
    assert [change.out for change in changes] == [True, False]
    assert "level has drifted to" in changes[0].detail


@pytest.mark.parametrize(("fault", "statistic"), [("lamp", "level"), ("glass", "contrast")])
def test_ageing_is_told_before_any_frame_is_refused(fault: str, statistic: str) -> None:
    alarms: list[Drifted] = []
    watch = DriftWatch(Drift(learn_frames=100, memory=0.05), changed=alarms.append)
    gate = QualityGate(Quality(), load_bundle(SHIPPED).card.statistics, watch.add)
    rng = np.random.default_rng(6)
    parts = [draw_part(rng, bool(i % 2)).pixels for i in range(4)]
    alarmed: int | None = None
    refused: QualityFault | None = None
    for place in range(900):
        worn = max(0, place - 100) / 800
        refused = gate(frame(_aged(parts[rng.integers(len(parts))], worn, fault)))
        if refused is not None:
            break
        if alarms and alarmed is None:
            alarmed = place
    assert refused is not None, "at the end the lamp is out and the glass is opaque"
    assert alarmed is not None
    assert alarmed < place
    assert statistic in {alarm.statistic for alarm in alarms}


def _aged(pixels: Pixels, worn: float, fault: str) -> Pixels:
    levels = np.arange(256) * (1 - worn) if fault == "lamp" else np.arange(256) * (1 - worn) + 140 * worn
    return np.asarray(np.rint(levels).astype(np.uint8)[pixels], np.uint8)


def test_a_watch_that_is_switched_off_says_nothing() -> None:
    alarms: list[Drifted] = []
    watch = DriftWatch(Drift(enabled=False, learn_frames=50), changed=alarms.append)
    for level in [150.0] * 50 + [20.0] * 500:
        watch.add(_features(level))
    assert alarms == []


def test_means_that_wander_widen_the_reference() -> None:
    steady = Reference.of(list(150 + _autocorrelated(4, 500, 0)))
    wandering = Reference.of(list(150 + _autocorrelated(4, 500, 0.95)))
    assert steady.deviation == pytest.approx(1, rel=0.35)
    assert wandering.deviation > 3 * steady.deviation


def test_the_reference_outlives_a_restart(tmp_path: Path) -> None:
    config = Config.model_validate(
        {"record": {"data_dir": str(tmp_path)}, "drift": {"learn_frames": 50}, "source": {"uri": "sim:"}}
    )
    told: list[tuple[str, bool]] = []
    events: list[tuple[str, str]] = []

    def start() -> DriftWatch:
        return build_drift_watch(config, "m-1.0.0", lambda *what: told.append(what), lambda *what: events.append(what))

    first = start()
    for _ in range(50):
        first.add(_features(150))
    second = start()
    for _ in range(300):
        second.add(_features(100))
    assert told == [("drift", True)]
    assert events[0][0] == "drift"
    assert "level has drifted" in events[0][1]


def test_a_reference_of_other_conditions_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    references = {name: Reference(1.0, 2.0, 50) for name in WATCHED}
    file = ReferenceFile(tmp_path, {"model": "a-1.0.0"})
    file.save(references)
    assert file.load() == references
    assert ReferenceFile(tmp_path, {"model": "a-1.0.1"}).load() is None
    for damage in ("", "[]", '{"conditions": {"model": "a-1.0.0"}, "references": {"level": 5}}'):
        (tmp_path / REFERENCE_FILE).write_text(damage)
        assert file.load() is None


def test_a_folder_that_cannot_be_written_does_not_stop_the_line(tmp_path: Path) -> None:
    ReferenceFile(tmp_path / "absent", {}).save({name: Reference(1.0, 2.0, 50) for name in WATCHED})
