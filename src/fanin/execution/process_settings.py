"""Process-wide settings for speed: threads, the allocator, the matmul backend. Used in worker
processes only.

Reasons, measured on AMD Zen 5 and Intel Xeon:

- One thread per worker, one worker per core: small networks do not use two threads well.
- glibc's allocator returns activations of some MB to the system at every free, and faults them in
  again at every step.
- On some CPUs oneDNN multiplies fp32 matrices twice as fast as MKL, in full fp32. On others it is
  slower, above all for small matrices, and on a CPU with AMX the same switch computes in bf16. It
  is used only if `is_onednn_exact` and `measure_onednn_speedup` say so.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from fanin import data, seeds
from fanin._version import __version__
from fanin.cell.cell import Cell
from fanin.training.cell_model import make_model

Matmul = Literal["default", "onednn"]

ENGINE = 3
"""The version of the engine, increased when a change may change the bits of a result."""

EXACT = 1e-5
"""The largest error of an exact fp32 product, relative to its largest entry; with bf16 inputs the
error is about 1e-3.
"""

WORTH_IT = 1.2
"""The speedup above which oneDNN is used. If both are about as fast, noise should not decide."""

_REPEATS = 15

# From glibc's malloc.h; 32 MiB is the largest mmap threshold that glibc takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP = 2**31 - 1
_LARGEST_MMAP_THRESHOLD = 32 * 2**20


def tune_process(threads: int = 1) -> None:
    """Set the threads and the allocator of this process; call it before the first large tensor."""
    torch.set_num_threads(threads)
    # The first optimizer of a process imports parts of torch for seconds: do it now, not in a cell.
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP)


def set_matmul(backend: Matmul) -> None:
    """Choose the backend of fp32 matrix products in this process."""
    torch.set_float32_matmul_precision("medium" if backend == "onednn" else "highest")


def is_onednn_exact(cells: Sequence[Cell]) -> bool:
    """Whether oneDNN's fp32 products are exact on this machine, on the shapes of the cells' linear
    layers.

    The largest error, relative to the largest entry of the float64 product, must be below `EXACT`.
    The backend is restored afterwards.
    """
    before = torch.get_float32_matmul_precision()
    try:
        set_matmul("onednn")
        return all(_measure_product_error(*shape) < EXACT for shape in collect_linear_shapes(cells))
    finally:
        torch.set_float32_matmul_precision(before)


def measure_onednn_speedup(cells: Sequence[Cell]) -> float:
    """How many times as fast oneDNN trains the cells' linear layers, each shape counted once; 1 if
    there are none.

    Takes the best of several alternating repeats, forward and backward, with the threads of this
    process: some milliseconds. The backend is restored afterwards.
    """
    before = torch.get_float32_matmul_precision()
    seconds: dict[Matmul, float] = {"default": 0.0, "onednn": 0.0}
    try:
        for shape in collect_linear_shapes(cells):
            best: dict[Matmul, float] = dict.fromkeys(seconds, math.inf)
            for _ in range(_REPEATS):
                for backend in seconds:
                    set_matmul(backend)
                    best[backend] = min(best[backend], _time_linear(*shape))
            for backend in seconds:
                seconds[backend] += best[backend]
    finally:
        torch.set_float32_matmul_precision(before)
    return seconds["default"] / seconds["onednn"] if seconds["onednn"] else 1.0


def describe_environment(device: str, matmul: Matmul) -> dict[str, Any]:
    """What a result records of its environment. `Result.environment_key` holds what the results of
    a block must share.
    """
    return {
        "device": torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else get_cpu_name(),
        "engine": ENGINE,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "matmul": matmul,
        "dtype": "float32",
        "fanin": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
    }


def get_cpu_name() -> str:
    """The CPU's model name, its family and model numbers if known (chips may share a name), and
    torch's vector capability.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    fields: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    for line in info.read_text().partition("\n\n")[0].splitlines() if info.exists() else ():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    name = fields.get("model name") or platform.processor() or platform.machine()
    numbers = (
        f" family {fields['cpu family']} model {fields['model']}"
        if {"cpu family", "model"} <= fields.keys()
        else ""
    )
    return f"{name}{numbers}, {capability}"


def collect_linear_shapes(cells: Sequence[Cell]) -> set[tuple[int, int, int]]:
    """The (batch, inputs, outputs) of every linear layer in the cells' models."""
    shapes: set[tuple[int, int, int]] = set()
    for cell in cells:
        module = make_model(cell).build_skeleton_for(data.describe(cell.data))
        linear = (m for m in module.modules() if isinstance(m, torch.nn.Linear))
        shapes.update((cell.batch_size, m.in_features, m.out_features) for m in linear)
    return shapes


def _time_linear(batch: int, inputs: int, outputs: int) -> float:
    """Seconds of the three products of a training step in a linear layer. The backend's first call
    is not timed.
    """
    x = torch.ones(batch, inputs, requires_grad=True)
    weight = torch.ones(outputs, inputs, requires_grad=True)
    bias = torch.zeros(outputs, requires_grad=True)
    gradient = torch.ones(batch, outputs)
    for _ in range(2):
        started = time.perf_counter()
        torch.autograd.backward(torch.nn.functional.linear(x, weight, bias), gradient)
    return time.perf_counter() - started


def _measure_product_error(batch: int, inputs: int, outputs: int) -> float:
    generator = seeds.make_generator(0, "matmul check")
    left = seeds.standard_normal((batch, inputs), generator)
    right = seeds.standard_normal((inputs, outputs), generator)
    exact = left.double() @ right.double()
    return float(((left @ right).double() - exact).abs().max() / exact.abs().max())
