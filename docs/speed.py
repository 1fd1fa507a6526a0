"""Write docs/speed.md from the committed measurements.

python docs/speed.py            # reads results/peer.json and results/initialize.json
python docs/speed.py --check    # writes nothing; fails if the page does not fit the measurements
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import initialize  # noqa: E402
import peer  # noqa: E402
from pages import wrap, write_or_check  # noqa: E402

PAGE = ROOT / "docs" / "speed.md"

_TEXT = """
# Speed

Figures are medians of {rounds} rounds (smallest and largest in brackets), measured on {device}, two
cores, torch {torch}, with nothing else running. Ratios are taken within a round, because machines
and hours differ.

## Against the case study's own program

    python benchmarks/peer.py --rounds {rounds} --output results/peer.json  # extras study and bench

The program was written again from its protocol for Keras 3 on TensorFlow
(`benchmarks/keras_program.py`). Both sides train the same arrays on the same cores, and build,
train, validate after every epoch, restore the best weights and evaluate. Start-up and reading of
data are left out on both sides. The published program is one process with as many threads as
TensorFlow chooses; fanin runs two workers with one thread each. The table gives trainings per hour,
each of the stated number of epochs:

{peer}

The most that this machine could do with one thread, for a 2048³ product in fp32: {default} GFLOP/s
with torch's default, {onednn} through oneDNN.

What makes the difference: one thread per worker and one worker per core; memory that glibc keeps;
images kept in memory as bytes and gathered many batches at a time; channels_last, and pooling
before rectifying; fused Adam; no synchronisation within an epoch; and the faster of two matmul
backends, if it is exact on the cells' own shapes (`src/fanin/execution/process_settings.py`).

## Initializing a large model

    python benchmarks/initialize.py --rounds {init_rounds} --output results/initialize.json

A transformer of {parameters} million parameters, {threads} threads. fanin's time includes the
record, for which the standard deviation of every weight is measured. Measured on {init_device},
torch {init_torch}.

{initialize}

Several parameters are filled at a time, since each has a random stream of its own, and they are
drawn in their own memory. Uniform and truncated distributions are made from the same normal draw as
all others, so that a comparison of initializers is paired.
"""


def render_page() -> str:
    """The whole page as Markdown."""
    peers, init = _read("peer"), _read("initialize")
    peaks = {
        name: f"{statistics.median(peak[name] for peak in peers['peak_gflops']):.0f}"
        for name in ("default", "onednn")
    }
    rounds = len(next(iter(peers["trainings_per_hour"].values()))["fanin"])
    text = _TEXT.format(
        rounds=rounds,
        device=peers["device"],
        torch=peers["torch"],
        peer=peer.render_table(peers),
        **peaks,
        init_rounds=len(next(iter(init["seconds"].values()))["fanin"]),
        parameters=f"{init['parameters'] / 1e6:.0f}",
        threads=init["threads"],
        init_device=init["device"],
        init_torch=init["torch"],
        initialize=initialize.render_table(init),
    )
    return wrap(text) + "\n"


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (ROOT / "results" / f"{name}.json").read_text(encoding="utf-8")
    )
    return found


if __name__ == "__main__":
    raise SystemExit(write_or_check(PAGE, render_page()))
