"""Recurrent networks over vectors or tokens: `rnn`, `lstm` and `gru`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from fanin import specs
from fanin.errors import FitError, SpecError, quote
from fanin.models import activations
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout, check_rate
from fanin.models.model_options import MAX_DEPTH, MAX_WIDTH, check_count

RecurrentKind = Literal["rnn", "lstm", "gru"]

_LAYERS: dict[RecurrentKind, type[nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True)
class RecurrentOptions:
    """Units of each layer's state, number of layers, their activation, the width of a token's
    vector, and the dropout rate: behind each layer, so between layers and before the output.

    `activation` is that of the state. `bias` is that of the recurrent layers, which have two: the
    output always has one. `embedding` None stands for `width`; vectors have none.
    """

    cell: ClassVar[RecurrentKind] = "rnn"
    known: ClassVar[tuple[str, ...]] = ("tanh", "relu")
    """Activations that torch's layer has."""
    width: int = 64
    depth: int = 1
    activation: str = "tanh"
    embedding: int | None = None
    bias: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        specs.coerce_fields(self.cell, self)
        check_count(self.width, "width", MAX_WIDTH)
        check_count(self.depth, "depth", MAX_DEPTH)
        if self.embedding is not None:
            check_count(self.embedding, "embedding", MAX_WIDTH)
        if self.embedding == self.width:  # equal networks have one identity
            object.__setattr__(self, "embedding", None)
        object.__setattr__(self, "activation", self._canonicalize_activation())
        object.__setattr__(self, "dropout", check_rate(self.dropout))

    def _canonicalize_activation(self) -> str:
        name = activations.get(self.activation).name
        if name not in self.known:
            gates = "" if self.cell == "rnn" else "; its gates are sigmoid"
            raise SpecError(
                f"The activation of the state of {self.cell} is {' or '.join(self.known)}{gates}. "
                f"Received {quote(name)}. "
                + (
                    f"Leave it out, or use rnn(activation={name})."
                    if name == "relu"
                    else "Leave it out."
                )
            )
        return name


@dataclass(frozen=True)
class RNNOptions(RecurrentOptions):
    """As `RecurrentOptions`; the activation is tanh or relu."""


@dataclass(frozen=True)
class LSTMOptions(RecurrentOptions):
    """As `RecurrentOptions`; the activation is tanh, inside the gates and behind the cell."""

    cell: ClassVar[RecurrentKind] = "lstm"
    known: ClassVar[tuple[str, ...]] = ("tanh",)


@dataclass(frozen=True)
class GRUOptions(RecurrentOptions):
    """As `RecurrentOptions`; the activation is tanh."""

    cell: ClassVar[RecurrentKind] = "gru"
    known: ClassVar[tuple[str, ...]] = ("tanh",)


class Recurrent(nn.Module):
    """[embedding →] (recurrent layer → dropout) × depth → last state, or the state of each step →
    linear.

    The layers are ``nn.RNN``, ``nn.LSTM`` and ``nn.GRU`` of one layer each, whose states start at
    0: so every rule for gates and recurrent weights knows them, and torch's own loops over the
    steps, in C++, do the work.

    ====  ==========================================================================
    rnn   h' = φ(W·x + b + U·h + c)
    lstm  k' = σ(f)·k + σ(i)·tanh(g), h' = σ(o)·tanh(k'); each of i, f, g, o is W·x + b + U·h + c
    gru   h' = (1 − σ(z))·n + σ(z)·h, n = tanh(W·x + b + σ(r)·(U·h + c))
    ====  ==========================================================================

    Vectors go into the first layer as they are, tokens as rows of a table. Dropout is fanin's own,
    with a new mask for each step of a sequence; torch's layers of several layers have a dropout
    that takes no key.

    Args:
        options: width, depth, activation, width of a token's vector, biases and dropout rate.
        input_shape: (steps, features) of one sequence of vectors, (steps,) of one of tokens; any
            number of steps runs.
        outputs: number of outputs.
        vocabulary: number of different tokens; None for vectors.
        per_step: whether each step has outputs. They depend on the steps up to their own only.

    Raises: `FitError` where an embedding is asked for and the inputs are vectors. Sources: Elman,
    Finding Structure in Time, 1990; Hochreiter, Schmidhuber, Long Short-Term Memory, 1997, with the
    forget gate of Gers et al., 2000; Cho et al., Learning Phrase Representations using RNN
    Encoder-Decoder, 2014, whose reset gate multiplies the state before U, where torch's multiplies
    what comes out of it.
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
                "the inputs are vectors of "
                f"{input_shape[1]} numbers already. Leave embedding out."
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
    own = {"nonlinearity": options.activation} if options.cell == "rnn" else {}
    return _LAYERS[options.cell](inputs, options.width, bias=options.bias, batch_first=True, **own)  # type: ignore[arg-type]


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


for _added in (
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
    REGISTRY.add(_added)
