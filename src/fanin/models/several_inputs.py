"""A user's model with several inputs, which fanin holds as one packed row for each sample."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fanin.data import InputPart


class SeveralInputs(nn.Module):
    """Takes a packed row apart (`fanin.data.formats.input_parts`) and calls the model with its
    parts by name: ``model(image=…, age=…)``.
    """

    def __init__(self, model: nn.Module, parts: tuple[InputPart, ...]) -> None:
        super().__init__()
        self.model = model
        self._parts = parts

    def forward(self, x: Tensor) -> Any:
        """(N, numbers of all parts) → what the model returns."""
        return self.model(**unpack(x, self._parts))


def unpack(x: Tensor, parts: tuple[InputPart, ...]) -> dict[str, Tensor]:
    """Each part (N, *shape) by name; tokens as int64."""
    pieces = x.split([part.size for part in parts], dim=1)
    return {
        part.name: (piece if part.vocabulary is None else piece.long()).reshape(-1, *part.shape)
        for part, piece in zip(parts, pieces, strict=True)
    }
