"""Errors of a training that a GPU or a lack of memory is behind: what they mean, in words.

A GPU that is out of memory has refused one request. After any other of its errors, such as an index
out of range (a "device-side assert"), every further call of the same process fails, whatever it
asks for. The classes differ between versions of torch, so errors are also known by their texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fanin.execution.process_limits import explain_lack_of_memory

_OUT_OF_MEMORY = re.compile(
    r"\b(CUDA|HIP|XPU|MPS backend)( error:)? out of memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED"
)
_FAILED = re.compile(
    r"\b(CUDA|HIP|XPU|cuDNN|cuBLAS) error\b|device-side assert|CU(BLAS|DNN)_STATUS_"
)
_SHOWN = 200


def explain_resource_error(error: BaseException) -> str:
    """What an error means and what to do if it, or one that led to it, comes from a GPU or from a
    lack of memory; empty for any other. A process with such an error should train nothing more.
    """
    for cause in _list_causes(error):
        if text := _explain_device_error(cause) or explain_lack_of_memory(cause):
            return text
    return ""


def _explain_device_error(error: BaseException) -> str:
    text = str(error)
    reason = next(iter(text.strip().splitlines()), type(error).__name__)[:_SHOWN].rstrip(".")
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("torch")}
    if "OutOfMemoryError" in kinds or _OUT_OF_MEMORY.search(text):
        return (
            f"Not enough memory on the GPU ({reason}). Use a smaller batch size or model, fewer "
            "--workers, or end other programs that use it."
        )
    if "AcceleratorError" in kinds or _FAILED.search(text):
        return (
            f"The GPU reported an error ({reason}), after which nothing works in its process: this "
            "worker is replaced. With CUDA_LAUNCH_BLOCKING=1 in the environment the traceback "
            "shows the line that caused it; often an index or a label is out of range."
        )
    return ""


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was raised for or while handling, and so on."""
    seen = set[int]()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
