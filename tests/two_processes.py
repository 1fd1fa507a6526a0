"""A program of two processes that talk over gloo: the first forks the second, since the imports of
both take longer than the rest.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh


def run_in_two(find: Callable[[DeviceMesh], dict[str, Any]]) -> None:
    """Print what each process finds, a line of JSON each; argument 1 is the file they meet at."""
    torch.set_num_threads(1)
    reading, writing = os.pipe()
    if (second := os.fork()) == 0:
        with os.fdopen(writing, "w") as stream:
            stream.write(_find(find, 1, sys.argv[1]))
        return
    os.close(writing)
    print(_find(find, 0, sys.argv[1]))
    with os.fdopen(reading) as stream:
        print(stream.read())
    _, status = os.waitpid(second, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def _find(find: Callable[[DeviceMesh], dict[str, Any]], rank: int, file: str) -> str:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    answer = json.dumps(find(init_device_mesh("cpu", (2,))))
    dist.destroy_process_group()
    return answer
