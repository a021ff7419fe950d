"""What the picture-quality gate costs a part on one core: 640x480 frames, the bundle that ships.

    python bench/gate.py [FRAMES]

`fit` brings the frame to the model's size, which the model needs anyway and gets from there; `gate` is what is added.
"""

import sys
import time
from datetime import UTC, datetime

import cv2
import numpy as np

from edge_qc.bundle import SHIPPED, load_bundle
from edge_qc.capture.simulated_part import draw_part
from edge_qc.domain import Frame
from edge_qc.quality import QualityGate
from edge_qc.sections import Quality


def main(frames: int) -> None:
    cv2.setNumThreads(1)
    card = load_bundle(SHIPPED).card
    gate, fit = QualityGate(Quality(), card.statistics), card.input.fitting().frame
    rng = np.random.default_rng(1)
    parts = [
        cv2.copyMakeBorder(draw_part(rng, defective=False).pixels, 90, 90, 170, 170, cv2.BORDER_REPLICATE)
        for _ in range(20)
    ]
    pool = [Frame(np.asarray(p, np.uint8), 1, 0, datetime.now(UTC), "bench") for p in parts]
    taken = np.empty((2, frames))
    for i in range(frames):
        began = time.thread_time()
        fitted = fit(pool[i % len(pool)])
        between = time.thread_time()
        gate(fitted)
        taken[:, i] = between - began, time.thread_time() - between
    print(f"{frames} frames of {parts[0].shape[1]}x{parts[0].shape[0]}, one core")
    print("stage  p50 ms  p95 ms  p99 ms of CPU time")
    for name, values in zip(("fit", "gate"), taken * 1e3, strict=True):
        print(f"{name:5}  " + "  ".join(f"{value:6.3f}" for value in np.percentile(values, (50, 95, 99))))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
