"""Parts on a belt, found in the picture by the real daemon, with their verdicts over a real broker."""

from pathlib import Path

import cv2

from support import Daemon, Listener, Mosquitto, rows, wait_until

PARTS = 4
CONFIG = """
source: {uri: "sim:?belt=1&parts=4&rate=4&seed=3"}
region: {unit: px, x: 170, y: 90, width: 300, height: 300}
trigger: {kind: presence, votes: 3}
line: {deadline_ms: 60000}
quality: {statistics: false}
record: {pictures_of: [ok, reject, unsure, not_inspected], free_floor_mb: 0}
"""


def test_each_part_on_the_belt_gets_one_verdict(tmp_path: Path, broker: Mosquitto) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    data = tmp_path / "data"
    args = ("--config", tmp_path / "config.yaml", "--broker", broker.url, "--data-dir", data)
    with Listener(broker.port) as plc, Daemon(tmp_path / "log", *args) as daemon:
        wait_until(lambda: daemon.process.poll() is not None, timeout_s=60)  # the belt ends
        assert daemon.process.returncode == 0, daemon.said
        wait_until(lambda: len(plc.of("verdict")) == PARTS)
    verdicts = plc.of("verdict")
    assert [(v["seq"], v["part"]) for v in verdicts] == [(i + 1, str(i + 1)) for i in range(PARTS)]
    assert {v["verdict"] for v in verdicts} <= {"ok", "reject", "unsure"}  # inspected, all of them
    for row in rows(data):
        picture = cv2.imread(str(data / row["picture"]), cv2.IMREAD_GRAYSCALE)
        assert picture.shape == (480, 640)
        assert picture[:, 200:440].std() > picture[:, :60].std()  # the part is in the middle, the belt beside it
