"""Sharded parameters (DTensor, FSDP2, FSDP1): two processes on the CPU get, put together, the
weights of one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).with_name("sharded_ranks.py")
CASES = (
    "first dimension",
    "last dimension",
    "replicated",
    "fsdp",
    "fsdp, nested",
    "fsdp from meta",
    "flat",
    "flat, as one",
    "flat, nested",
)
RULES = ("he_normal", "orthogonal", "torch_default", "auto")

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or sys.platform == "win32",
    reason="needs torch.distributed with gloo",
)

Found = dict[str, Any]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What the two processes print: by case and rule, what is not as in the unsharded model."""
    meeting = tmp_path_factory.mktemp("ranks") / "meeting"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(meeting)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    answers = [json.loads(line) for line in done.stdout.splitlines()[-2:]]
    assert len(answers) == 2
    return answers


@pytest.mark.parametrize("case", CASES)
def test_sharded_parameters_get_the_same_weights_as_unsharded_ones(
    case: str, ranks: list[Found]
) -> None:
    """And the record of the unsharded model verifies them."""
    for found in ranks:
        assert found[case] == {rule: [] for rule in RULES}


def test_a_sharded_model_is_traced_but_not_observed(ranks: list[Found]) -> None:
    """A forward pass would leave its parameters gathered."""
    assert all(found["refused"] for found in ranks)


def test_shards_that_each_process_drew_alike_are_told(ranks: list[Found]) -> None:
    for found in ranks:
        assert found["local"].startswith("0.weight: the same numbers 2 times along axis 0")
