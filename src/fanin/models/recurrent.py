"""Recurrent networks over vectors or tokens: `rnn`, `lstm` and `gru`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from fanin.errors import FitError, SpecError, quote
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout
from fanin.models.model_options import (
    MAX_DEPTH,
    MAX_WIDTH,
    canonicalize_options,
    check_count,
    set_option,
)

RecurrentKind = Literal["rnn", "lstm", "gru"]

_LAYERS: dict[RecurrentKind, type[nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True)
class RecurrentOptions:
    """Size of each layer's state, number of layers, activation of the state, width of a token's
    vector, and dropout after each layer.

    `bias` is that of the recurrent layers, which have two biases each; the output always has one.
    `embedding` is None for `width`, and for inputs that are vectors.
    """

    cell: ClassVar[RecurrentKind] = "rnn"
    supported: ClassVar[tuple[str, ...]] = ("tanh", "relu")
    """The activations of torch's layer."""
    width: int = 64
    depth: int = 1
    activation: str = "tanh"
    embedding: int | None = None
    bias: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        canonicalize_options(self.cell, self)
        check_count(self.width, "width", MAX_WIDTH)
        check_count(self.depth, "depth", MAX_DEPTH)
        if self.embedding is not None:
            check_count(self.embedding, "embedding", MAX_WIDTH)
        if self.embedding == self.width:  # equal networks have equal options
            set_option(self, "embedding", None)
        if self.activation not in self.supported:
            gates = "" if self.cell == "rnn" else "; its gates are sigmoid"
            advice = ", or use rnn(activation=relu)" if self.activation == "relu" else ""
            raise SpecError(
                f"The activation of the state of {self.cell} is {' or '.join(self.supported)}"
                f"{gates}. Received {quote(self.activation)}. Leave it out{advice}."
            )


@dataclass(frozen=True)
class RNNOptions(RecurrentOptions):
    """`RecurrentOptions`; the activation is tanh or relu."""


@dataclass(frozen=True)
class LSTMOptions(RecurrentOptions):
    """`RecurrentOptions`; the activation is tanh, inside the gates and after the cell."""

    cell: ClassVar[RecurrentKind] = "lstm"
    supported: ClassVar[tuple[str, ...]] = ("tanh",)


@dataclass(frozen=True)
class GRUOptions(RecurrentOptions):
    """`RecurrentOptions`; the activation is tanh."""

    cell: ClassVar[RecurrentKind] = "gru"
    supported: ClassVar[tuple[str, ...]] = ("tanh",)


class Recurrent(nn.Module):
    """[embedding →] (recurrent layer → dropout) × depth → last state, or each step's → linear.

    The layers are ``nn.RNN``, ``nn.LSTM`` and ``nn.GRU`` of one layer each, whose states start at
    0. So all rules for gates and recurrent weights apply to them, and torch loops over the steps in
    C++.

    | cell | next state                                                           |
    |------|----------------------------------------------------------------------|
    | rnn  | h' = φ(W·x + b + U·h + c)                                            |
    | lstm | k' = σ(f)·k + σ(i)·tanh(g), h' = σ(o)·tanh(k')                       |
    | gru  | h' = (1 − σ(z))·n + σ(z)·h, n = tanh(W·x + b + σ(r)·(U·h + c))       |

    Each of i, f, g, o, and of r and z, has the form W·x + b + U·h + c.

    Vectors are passed to the first layer as they are, tokens as rows of a table. Dropout is
    fanin's, with a new mask for each step of a sequence; the dropout of torch's multi-layer modules
    takes no key.

    Args:
        options: width, depth, activation, width of a token's vector, biases and dropout rate.
        input_shape: (steps, features) of one sequence of vectors, or (steps,) of one of tokens; the
            model runs on any number of steps.
        outputs: number of outputs.
        vocabulary: number of different tokens; None for vectors.
        per_step: whether each step has outputs, which depend only on the steps up to it.

    Raises: `FitError` if `embedding` is given for inputs that are vectors.

    Sources: Elman, Finding Structure in Time, 1990; Hochreiter, Schmidhuber, Long Short-Term
    Memory, 1997, with the forget gate of Gers et al., 2000; Cho et al., Learning Phrase
    Representations using RNN Encoder-Decoder, 2014, whose reset gate multiplies the state before U,
    while torch's multiplies the product with U.
    """

    def __init__(
        self,
        options: RecurrentOptions,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int | None = None,
        per_step: bool = False,
    ) -> None:
        super().__init__()
        self.per_step = per_step
        self.embedding: nn.Module = nn.Identity()
        if vocabulary is not None:
            inputs = options.embedding or options.width
            self.embedding = nn.Embedding(vocabulary, inputs)
        elif options.embedding is not None:
            raise FitError(
                f"{options.cell}(embedding={options.embedding}) is the width of a token's vector; "
                f"the inputs are already vectors of {input_shape[1]} numbers. Leave embedding out."
            )
        else:
            inputs = input_shape[1]
        sizes = (inputs, *(options.width,) * options.depth)
        self.layers = nn.ModuleList(_make_layer(options, size) for size in sizes[:-1])
        self.dropout = nn.ModuleList(Dropout(options.dropout) for _ in self.layers)
        self.output = nn.Linear(options.width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, steps, features), or tokens (N, steps) → (N, outputs), or (N, steps, outputs)."""
        h = self.embedding(x)
        for layer, dropout in zip(self.layers, self.dropout, strict=True):
            h = dropout(layer(h)[0])
        output: Tensor = self.output(h if self.per_step else h[:, -1])
        return output


def _make_layer(options: RecurrentOptions, inputs: int) -> nn.RNNBase:
    only_rnn = {"nonlinearity": options.activation} if options.cell == "rnn" else {}
    layer = _LAYERS[options.cell]
    return layer(inputs, options.width, bias=options.bias, batch_first=True, **only_rnn)  # type: ignore[arg-type]


def _make_entry(options: type[RecurrentOptions], summary: str, paper: str) -> ModelEntry:
    return ModelEntry(
        name=options.cell,
        summary=summary,
        options=options,
        build=Recurrent,
        input="sequence",
        task="any",
        channels_last=False,
        paper=paper,
    )


for _registered in (
    _make_entry(
        RNNOptions,
        "A plain recurrent network over vectors or tokens: one layer of 64 tanh units, last state, "
        "outputs.",
        "Elman, Finding Structure in Time, 1990",
    ),
    _make_entry(
        LSTMOptions,
        "A recurrent network with gated memory over vectors or tokens: one LSTM of 64 units, last "
        "state, outputs.",
        "Hochreiter, Schmidhuber, Long Short-Term Memory, 1997",
    ),
    _make_entry(
        GRUOptions,
        "A recurrent network with two gates over vectors or tokens: one GRU of 64 units, last "
        "state, outputs.",
        "Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014",
    ),
):
    REGISTRY.add(_registered)
