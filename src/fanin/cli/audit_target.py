"""The model that ``fanin audit`` is given: what a reference returns, built from a seed."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.errors import FaninError, UserCodeError, quote

if TYPE_CHECKING:
    from torch import nn

_EXAMPLE = "my_file.py:make_model or package.module:Model"


class BuiltModel:
    """A user's model and where it was built.

    Args:
        reference: ``file.py:callable`` or ``package.module:callable``, which returns the model, or
            the name of a model that is there already.
        seed: what the global generators of torch, NumPy and Python start from while it is built.
    """

    def __init__(self, reference: str, seed: int) -> None:
        from torch import nn

        from fanin import seeds
        from fanin.user_code import load

        loaded = load(reference)
        self.reference = loaded.reference
        self.file = loaded.file
        self.line = _find_line(loaded.function)
        model: object = loaded.function
        if not isinstance(model, nn.Module):
            with seeds.preserve_global_state(seed % 2**32):
                model = _call(loaded.function, reference, loaded.file)
        if not isinstance(model, nn.Module):
            raise UserCodeError(
                f"{reference} returned {quote(model)}. Expected a torch.nn.Module, from a function "
                f"or class without arguments, such as {_EXAMPLE}."
            )
        self.model: nn.Module = model

    @property
    def shown_file(self) -> str:
        """The file, relative to the working directory if it is below it."""
        try:
            return self.file.relative_to(Path.cwd()).as_posix()
        except ValueError:
            return self.file.as_posix()

    def list_keywords(self) -> tuple[str, ...]:
        """The arguments of the model's forward."""
        try:
            return tuple(inspect.signature(self.model.forward).parameters)
        except (TypeError, ValueError):
            return ()


def _call(function: object, reference: str, file: Path) -> object:
    """What a user's function returns; its errors in one line, with the line of the user's file."""
    from fanin.user_code.callables import describe_error, locate_error

    assert callable(function)
    try:
        required = [
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        required = []
    if required:
        raise UserCodeError(
            f"{reference} needs {', '.join(required)}. Expected a function without required "
            f"arguments: write one that calls it, such as make_model, and name that."
        )
    try:
        return function()
    except FaninError:
        raise
    except (Exception, SystemExit) as error:
        raise UserCodeError(
            f"{reference} failed: {describe_error(error)}{locate_error(error, file)}."
        ) from error


def _find_line(function: object) -> int:
    """The line at which a function or class begins; 1 if that cannot be told."""
    try:
        return max(inspect.getsourcelines(function)[1], 1)  # type: ignore[arg-type]
    except (TypeError, OSError):
        code = getattr(function, "__code__", None)
        return max(getattr(code, "co_firstlineno", 1), 1)
