"""Skeletons: modules on the meta device, which have shapes and no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fanin import seeds


@contextmanager
def build_skeletons() -> Iterator[None]:
    """Let modules that are built inside have no memory, and draw nothing."""
    with seeds.preserve_torch_state(), torch.device("meta"), _WithoutNormalDraws():
        yield


class _WithoutNormalDraws(TorchFunctionMode):
    """Leaves out what fills a tensor of the meta device with normal numbers.

    There is nothing to fill, but torch would import its compiler for it, which takes seconds: for
    every model that has an embedding.
    """

    _DRAWS = (nn.init.normal_, Tensor.normal_)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in self._DRAWS:
            tensor = args[0] if args else (kwargs or {}).get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **(kwargs or {}))
