"""The parameters of a model that have a row per token: its embedding, its head, what is tied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fanin.errors import FitError, UnknownName, UsageError, join_names, quote
from fanin.structure import unwrap_model

_BIASES = ("final_logits_bias",)
"""Buffers of transformers' models that hold a number per token, shape (1, tokens)."""


@dataclass(frozen=True)
class TokenParameter:
    """A parameter and the axis that counts tokens."""

    parameter: nn.Parameter
    axis: int = 0


@dataclass(frozen=True)
class TokenTables:
    """All that has to be resized together."""

    model: nn.Module
    size: int
    parameters: tuple[TokenParameter, ...]
    modules: Mapping[str, nn.Module]
    """The embeddings and heads that use them, by path."""
    padding: tuple[int, ...]
    """The rows that stand for padding."""

    def list_names(self, parameter: nn.Parameter) -> Iterator[str]:
        """All names of a parameter in the model."""
        return (
            name
            for name, one in self.model.named_parameters(remove_duplicate=False)
            if one is parameter
        )

    def set_size(self, size: int) -> Iterator[str]:
        """Write the new number of tokens wherever the old one is kept; yields what was set."""
        for module in self.modules.values():
            for name in ("num_embeddings", "out_features"):
                if getattr(module, name, None) == self.size:
                    setattr(module, name, size)
        for path, module in self.model.named_modules():
            prefix = f"{path}." if path else ""
            if vars(module).get("vocab_size") == self.size:
                module.vocab_size = size
                yield f"{prefix}vocab_size"
            for name in _BIASES:
                buffer = module._buffers.get(name)
                if buffer is not None and buffer.shape[-1] == self.size:
                    module._buffers[name] = _resize_bias(buffer, size)
                    yield f"{prefix}{name}"
        config = getattr(self.model, "config", None)
        text: Any = getattr(config, "get_text_config", lambda: config)()
        if text is not None and getattr(text, "vocab_size", None) == self.size:
            text.vocab_size = size
            yield "config.vocab_size"


def find_tables(model: object, embedding: str | None, head: str | bool | None) -> TokenTables:
    """What `resize_embedding` resizes.

    Raises `UsageError` for a path that is none, `FitError` for what cannot be resized.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"Expected a torch.nn.Module, not {quote(model)}.")
    bare = unwrap_model(model)
    table = _find_embedding(bare, embedding)
    size = table.weight.shape[0]
    last = _find_head(bare, head, table)
    weights = [table.weight] if last is None else [table.weight, last.weight]
    modules = {
        path: module
        for path, module in bare.named_modules()
        if any(module._parameters.get("weight") is weight for weight in weights)
    }
    for path, module in modules.items():
        _check_module(path, module, size)
    if head is None:
        _refuse_unnamed_heads(bare, modules, size)
    parameters = {
        id(parameter): TokenParameter(parameter)
        for module in modules.values()
        for name in ("weight", "bias")
        if (parameter := module._parameters.get(name)) is not None
    }
    for one in parameters.values():
        _check_parameter(one.parameter, size)
    padding = {
        index
        for module in modules.values()
        if (index := getattr(module, "padding_idx", None)) is not None
    }
    return TokenTables(bare, size, tuple(parameters.values()), modules, tuple(sorted(padding)))


def _find_embedding(model: nn.Module, path: str | None) -> nn.Embedding:
    if path is not None:
        found: object = _get_module(model, path)
    elif isinstance(model, nn.Embedding):
        return model
    else:
        found = _ask(model, "get_input_embeddings") or _find_only_embedding(model)
    if not isinstance(found, nn.Embedding):
        raise FitError(
            f"The embedding is a {type(found).__name__}, which cannot be resized; expected an "
            "nn.Embedding. If peft wraps it, resize before peft is applied."
        )
    return found


def _find_only_embedding(model: nn.Module) -> nn.Embedding:
    found = {path: one for path, one in model.named_modules() if isinstance(one, nn.Embedding)}
    if len(found) != 1:
        what = f"several embeddings: {join_names(found)}" if found else "no nn.Embedding"
        raise FitError(
            f"{type(model).__name__} has {what}. Say which holds the tokens by embedding='path'."
        )
    return next(iter(found.values()))


def _find_head(
    model: nn.Module, head: str | bool | None, table: nn.Embedding
) -> nn.Linear | nn.Embedding | None:
    if head is False:
        return None
    if head is True:
        raise UsageError("head is the path of the head, such as 'lm_head', or False.")
    found = _ask(model, "get_output_embeddings") if head is None else _get_module(model, head)
    if found is None or found is table:
        return None
    if not isinstance(found, nn.Linear | nn.Embedding):
        raise FitError(
            f"The head is a {type(found).__name__}, which cannot be resized; expected an "
            "nn.Linear. If peft wraps it, resize before peft is applied."
        )
    return found


def _ask(model: nn.Module, method: str) -> object:
    """What a model of transformers answers; None if it has no such method, or no answer."""
    try:
        return getattr(model, method)()
    except (AttributeError, NotImplementedError):
        return None


def _get_module(model: nn.Module, path: object) -> nn.Module:
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if not isinstance(path, str) or path not in modules:
        raise UnknownName.suggest("module", path, modules)
    return modules[path]


def _check_module(path: str, module: nn.Module, size: int) -> None:
    if not isinstance(module, nn.Embedding | nn.Linear):
        raise FitError(
            f"{path} shares the embedding and is a {type(module).__name__}; only nn.Embedding and "
            "nn.Linear can be resized."
        )
    if module.weight.shape[0] != size:
        raise FitError(
            f"{path} has {module.weight.shape[0]} outputs, and the embedding has {size} tokens. "
            "Resize them one by one."
        )


def _refuse_unnamed_heads(model: nn.Module, modules: Mapping[str, nn.Module], size: int) -> None:
    """A layer with an output per token that nobody named is probably a head."""
    found = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == size and path not in modules
    ]
    if found:
        raise FitError(
            f"{join_names(found)} also has {size} outputs. Name the head by head={found[-1]!r}, or "
            "say head=False if none of them is one."
        )


def _check_parameter(parameter: nn.Parameter, size: int) -> None:
    plain = type(parameter) in (nn.Parameter, Tensor) and type(parameter.data) is Tensor
    if not plain or not parameter.is_floating_point() or parameter.is_meta:
        raise FitError(
            f"A parameter of {size} tokens is {type(parameter.data).__name__}, {parameter.dtype} "
            f"on {parameter.device}; only plain floating-point tensors in memory can be resized. "
            "Resize before the model is quantized, sharded or put on meta."
        )


def _resize_bias(buffer: Tensor, size: int) -> Tensor:
    """A buffer (1, tokens): cut, or filled with zeros, as in transformers."""
    kept = buffer[..., : min(size, buffer.shape[-1])]
    added = buffer.new_zeros((*buffer.shape[:-1], size - kept.shape[-1]))
    return torch.cat([kept, added], dim=-1)
