"""keras_default on Keras' own layers, where Keras runs on torch: what fresh layers start from.

Of each kernel n = 3,000 numbers or more; mean, mean square and mean fourth power within 5 standard
errors of the difference (level 6e-7 per comparison); a standard deviation that is 15 % off is shown
to be seen. Constants are compared exactly.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fanin.fans.keras_layers import calculate_keras_fans

SCRIPT = Path(__file__).with_name("keras_on_torch.py")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("keras") is None, reason='needs the extra "peers"'
)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What a process says in which Keras runs on torch."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_every_kernel_has_the_moments_of_a_fresh_layer_of_keras(found: dict[str, Any]) -> None:
    assert len(found["different"]) == 16
    assert {name: wrong for name, wrong in found["different"].items() if wrong} == {}


def test_the_state_of_a_recurrent_layer_is_orthogonal_over_all_gates(found: dict[str, Any]) -> None:
    assert found["orthogonal"] == {"LSTM": True, "GRU": True, "SimpleRNN": True}


def test_other_rules_take_the_true_fans_of_keras_kernels(found: dict[str, Any]) -> None:
    """A whole model keeps its parameters in one holder, not in its layers."""
    assert found["fans"] == {
        "conv/kernel": [18, 36, "weight"],
        "conv/bias": [None, None, "bias"],
        "depthwise/kernel": [9, 9, "weight"],
        "depthwise/bias": [None, None, "bias"],
        "head/kernel": [8 * 12 * 12, 10, "weight"],
        "head/bias": [None, None, "bias"],
    }


def test_keras_takes_its_fans_from_the_last_two_axes() -> None:
    assert calculate_keras_fans((30, 80)).fan_in == 30
    assert calculate_keras_fans((3, 5, 12, 60)).fan_out == 900
