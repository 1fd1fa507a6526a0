"""A training that FSDP2 shards over two processes is watched as if one held all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("watched_ranks.py")


@pytest.mark.skipif(
    not torch.distributed.is_available() or sys.platform == "win32",
    reason="needs torch.distributed with gloo",
)
@pytest.mark.skipif(
    not hasattr(torch.cpu.current_stream(), "record_event"),
    reason="torch 2.6 cannot run FSDP2's forward pass on the CPU",
)
def test_a_sharded_training_reads_as_a_whole_one_and_stays_what_it_is(tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "meeting")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    answers = [json.loads(line) for line in done.stdout.splitlines()[-2:]]
    for found in answers:
        assert found["steps"] == 2
        assert found["layers"] == ["(all)", "0", "1", "1:relu", "4"]
        assert {"gradient_rms", "update_ratio", "weight_norm"} <= set(found["statistics"])
        assert found["different"] == []
        assert found["same weights"]
