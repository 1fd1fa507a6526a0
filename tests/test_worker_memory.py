"""A worker's memory: at most twice the images as bytes, plus 600 MB for torch and all else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ALLOWED_BESIDE_DATA = 600e6

# What a worker does: engine made, set up, one cell trained. The peak is that of this process alone.
_WORKER = """
import json, re, sys
from pathlib import Path
from fanin.execution.engine import DEFAULT_ENGINE, TrainingJob, load_engine
from fanin.study.canonical_cell import make_cell

data, model, folder = sys.argv[1:]
engine = load_engine(DEFAULT_ENGINE)
given = {"data": data, "model": model, "initializer": "he_normal", "epochs": 1}
cell = make_cell({**given, "protocol": "case-study"})
engine.set_up("cpu", engine.choose_matmul([cell]))
job = TrainingJob(cell=cell, checkpoints=Path(folder), checkpoint_interval=0)
result = engine.train(job, lambda row: None, lambda: False)
peak = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps({"outcome": result.outcome, "peak": peak}))
"""

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc/self/status")


def peak_of_a_worker(data: str, model: str, folder: Path, environment: dict[str, str]) -> int:
    """Bytes at most resident in a process that trains one cell for one epoch."""
    words = [sys.executable, "-c", _WORKER, data, model, str(folder)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["outcome"] == "ok"
    return int(report["peak"])


@linux
@pytest.mark.slow
def test_a_worker_holds_at_most_twice_the_bytes_of_its_images_plus_600_mb(tmp_path: Path) -> None:
    """60,000 colour images, as many as CIFAR has, of which each part is used once."""
    random = np.random.Generator(np.random.PCG64(0))
    pixels = random.integers(0, 256, (60_000, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, 60_000)
    labels[:10] = labels[-10:] = np.arange(10)
    folder = tmp_path / "data" / "noise"
    folder.mkdir(parents=True)
    cut = 50_000
    np.savez(
        folder / "noise.npz",
        x_train=pixels[:cut],
        y_train=labels[:cut],
        x_test=pixels[cut:],
        y_test=labels[cut:],
    )
    peak = peak_of_a_worker("noise", "mlp", tmp_path, {"FANIN_DATA_DIR": str(tmp_path / "data")})
    assert peak <= 2 * pixels.nbytes + ALLOWED_BESIDE_DATA


@linux
@pytest.mark.realdata
@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.skipif(
    not os.environ.get("FANIN_DATA_DIR"),
    reason="FANIN_DATA_DIR names no folder with the real data sets",
)
def test_so_does_one_that_trains_on_the_real_cifar10(model: str, tmp_path: Path) -> None:
    peak = peak_of_a_worker("cifar10", model, tmp_path, {})
    assert peak <= 2 * 60_000 * 3072 + ALLOWED_BESIDE_DATA
