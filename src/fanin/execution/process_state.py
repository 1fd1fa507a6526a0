"""The state of a worker's process, which user code may change: put back after every cell.

What has no way back (a hook on all modules, a variable of a user's file) is told instead, and the
worker is replaced. So a cell has the same bits alone and after any other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.backends import ContextProp

from fanin import seeds, user_code

Accessor = tuple[Callable[[], Any], Callable[[Any], Any]]

_PLAIN = (type(None), bool, int, float, str, tuple, torch.dtype, torch.device)
_NOT_SETTINGS = ("stats", "caught", "upgraders", "thread_name", "accelerator")
"""Parts of the names of what torch counts or finds out by itself."""

_ACCESSORS: dict[str, Accessor] = {
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (
        torch.get_default_device,
        lambda value: torch.set_default_device(None if value.type == "cpu" else value),
    ),
    "matmul precision": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "deterministic algorithms": (
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    "anomaly detection": (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.autograd.set_detect_anomaly(*value),
    ),
    "fast path of attention": (
        torch.backends.mha.get_fastpath_enabled,
        torch.backends.mha.set_fastpath_enabled,
    ),
    "denormal numbers": (
        lambda: bool((torch.tensor([1e-40]) * 1 == 0).item()),
        torch.set_flush_denormal,
    ),
    "NumPy's handling of errors": (np.geterr, lambda value: np.seterr(**value)),
    "environment variables": (
        lambda: dict(os.environ),
        lambda value: _replace_environment(value),
    ),
    "import path": (lambda: list(sys.path), lambda value: sys.path.__setitem__(slice(None), value)),
}


def _replace_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _list_accessors() -> dict[str, Accessor]:
    """`_ACCESSORS`, and every switch of ``torch.backends``."""
    found = dict(_ACCESSORS)
    for name, module in sorted(sys.modules.items()):
        if not name.startswith("torch.backends"):
            continue
        for attribute, switch in vars(type(module)).items():
            if isinstance(switch, ContextProp) and attribute != "fp32_precision":
                get = partial(getattr, module, attribute)
                found[f"{name}.{attribute}"] = (get, partial(setattr, module, attribute))
    return found


_GETTERS = {
    name: getattr(torch._C, name)
    for name in dir(torch._C)
    if name.startswith(("_get_", "_is_", "is_")) and not any(part in name for part in _NOT_SETTINGS)
}


@contextlib.contextmanager
def preserve_process_state() -> Iterator[list[str]]:
    """Put the state of the process back at the end; the random generators start from a constant.

    Yields a list to which, at the end, the names of what could not be put back are added.
    """
    left: list[str] = []
    accessors = _list_accessors()
    before = {name: _read(get) for name, (get, _) in accessors.items()}
    rest = _read_rest()
    stream = seeds.derive_stream(0, "process")
    try:
        with seeds.preserve_global_state(stream):
            yield left
    finally:
        for name, (get, put) in accessors.items():
            if _read(get) != before[name]:
                with contextlib.suppress(Exception):
                    put(before[name])
        after = {name: _read(get) for name, (get, _) in accessors.items()} | _read_rest()
        expected = before | rest
        left += [name for name in expected if after.get(name) != expected[name]]
        left += user_code.find_changes()


def _read_rest() -> dict[str, Any]:
    """Further settings, by name, for which there is no way back."""
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, get in _GETTERS.items():
            value = _read(get)
            if isinstance(value, _PLAIN):
                found[f"torch's {name.lstrip('_')}"] = value
    modules = vars(torch.nn.modules.module)
    for name, hooks in modules.items():
        if name.startswith("_global_") and hasattr(hooks, "keys"):
            found[f"torch.nn's {name.lstrip('_')}"] = tuple(hooks)
    for backend in ("generic", "mkldnn", "cuda"):
        for operation in ("all", "matmul", "conv", "rnn"):
            get = getattr(torch._C, "_get_fp32_precision_getter", None)
            if get is not None:
                precision = _read(partial(get, backend, operation))
                # "none", which nobody has chosen, is what "ieee" says
                found[f"{backend} {operation} precision"] = (
                    "ieee" if precision == "none" else precision
                )
    found["modes of torch functions"] = torch._C._len_torch_function_stack()
    found["modes of dispatch"] = torch._C._len_torch_dispatch_stack()
    found["signal handlers"] = [
        signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    ]
    return found


def _read(get: Callable[[], Any]) -> Any:
    """What a getter returns; the class of its error if it has none to return."""
    try:
        return get()
    except Exception as error:
        return type(error)
