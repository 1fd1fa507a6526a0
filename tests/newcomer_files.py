"""A study that trains in milliseconds, and initializers to compare with its own: files of a user's,
for the tests of `fanin.compare`.
"""

from __future__ import annotations

from pathlib import Path

STUDY = """
question = "Which start is the best?"
replicates = 10
[base]
data = "blobs.py:data"
model = "mlp(widths=[8], activation=relu)"
optimizer = "sgd"
learning_rate = 0.1
epochs = 2
batch_size = 16
[axes]
initializer = ["zero", "he_normal"]
"""

TUNED = (
    STUDY.replace("replicates = 10", "replicates = 2").replace("learning_rate = 0.1\n", "")
    + """
[tune]
learning_rate = [0.01, 0.1]
replicates = 2
"""
)

DATA = """
import numpy as np

def data():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (rng.normal(size=(120, 6)) + 2 * np.eye(6)[y]).astype(np.float32)
    return x[:90], y[:90], x[90:], y[90:]
"""

INITIALIZERS = """
import fanin

def same():
    return fanin.get("he_normal")

class Mine(fanin.get("he_normal").__class__):
    pass

def constant(tensor):
    tensor.fill_(0.0)
"""


def write_files(folder: Path, study: str = STUDY) -> Path:
    """Write the study, its data and the initializers; the study's path."""
    (folder / "blobs.py").write_text(DATA)
    (folder / "my_init.py").write_text(INITIALIZERS)
    path = folder / "blobs.toml"
    path.write_text(study)
    return path
