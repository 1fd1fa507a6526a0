"""Process-wide settings for speed: threads, the allocator, the matmul backend. For worker processes
only.

Why each exists (CPU, measured on AMD Zen 5 and Intel Xeon):

- one thread per worker, one worker per core: small networks do not use two threads well;
- glibc's allocator gives activations of some MB back to the system at every free and faults them in
  again at every step;
- on some CPUs oneDNN multiplies fp32 matrices twice as fast as MKL, still in full fp32; on others
  it is slower, above all on small ones. On a CPU with AMX the same switch really computes in bf16.
  So it is used only where `is_onednn_exact` and `measure_onednn_speedup` have looked.
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

# Raised whenever a change of the engine may change a result's bits.
ENGINE = 2

EXACT = 1e-5
"""Largest error of an fp32 product, relative to its largest entry; bf16 inputs would give about
1e-3.
"""

WORTH_IT = 1.2
"""How many times as fast oneDNN must be. Where the two are close the default is taken, so that
noise does not decide.
"""

_REPEATS = 15

# From glibc's malloc.h; 32 MiB is the largest mmap threshold that glibc takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP = 2**31 - 1
_LARGEST_MMAP_THRESHOLD = 32 * 2**20


def tune_process(threads: int = 1) -> None:
    """Settle this process' threads and allocator; call it before the first big tensor."""
    torch.set_num_threads(threads)
    # The first optimizer of a process imports seconds' worth of torch, which belongs to the start
    # and not to a cell.
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP)


def set_matmul(backend: Matmul) -> None:
    """Choose the backend of fp32 matrix products in this process."""
    torch.set_float32_matmul_precision("medium" if backend == "onednn" else "highest")


def is_onednn_exact(cells: Sequence[Cell]) -> bool:
    """Whether oneDNN's fp32 products are exact on this machine, on the shapes of the cells' own
    linear layers.

    Compares with float64: the largest error relative to the largest entry must be below `EXACT`.
    The process' setting is put back afterwards.
    """
    before = torch.get_float32_matmul_precision()
    try:
        set_matmul("onednn")
        return all(_measure_product_error(*shape) < EXACT for shape in collect_linear_shapes(cells))
    finally:
        torch.set_float32_matmul_precision(before)


def measure_onednn_speedup(cells: Sequence[Cell]) -> float:
    """How many times as fast oneDNN trains the cells' own linear layers, each counted once; 1 where
    they have none.

    The best of several alternating repeats, forward and backward, in this process' own threads:
    some milliseconds. The process' setting is put back afterwards.
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
    """What a result must say about where it was computed; `Result.environment_key` picks what a
    block must share.
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
    """The CPU's model, with family and model numbers where two chips share a name, and torch's
    vector capability.
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
    """(batch, inputs, outputs) of every linear layer in the cells' models."""
    shapes: set[tuple[int, int, int]] = set()
    for cell in cells:
        module = make_model(cell).build_skeleton_for(data.describe(cell.data))
        linear = (m for m in module.modules() if isinstance(m, torch.nn.Linear))
        shapes.update((cell.batch_size, m.in_features, m.out_features) for m in linear)
    return shapes


def _time_linear(batch: int, inputs: int, outputs: int) -> float:
    """Seconds of one training step's three products in a linear layer, first call of the backend
    left out.
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
