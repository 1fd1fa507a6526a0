"""The deep autoencoder: `autoencoder`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from fanin.errors import SpecError
from fanin.models import activations, normalization
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout
from fanin.models.model_options import (
    MAX_DEPTH,
    MAX_WIDTH,
    canonicalize_options,
    check_count,
    check_widths,
    set_option,
)
from fanin.models.normalization import Norm


@dataclass(frozen=True)
class AutoencoderOptions:
    """Widths of the encoder's hidden layers, which the decoder has in reverse; size of the code;
    one activation for all hidden layers, or one for each, those of the encoder first.

    `norm` is applied before each activation, dropout after it. `bias` is that of the hidden layers;
    code and output always have one.
    """

    widths: tuple[int, ...] = (256, 128, 64)
    code: int = 16
    activation: str | tuple[str, ...] = "sigmoid"
    norm: Norm | None = None
    bias: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        canonicalize_options("autoencoder", self)
        widths = check_widths(self.widths, "widths")
        check_count(self.code, "code", MAX_WIDTH)
        if 2 * len(widths) > MAX_DEPTH:
            raise SpecError(
                f"At most {MAX_DEPTH:,} hidden layers are built; {len(widths):,} widths make "
                f"{2 * len(widths):,}. Use fewer."
            )
        canonical = activations.canonicalize(self.activation, 2 * len(widths))
        set_option(self, "activation", canonical)


class Autoencoder(nn.Module):
    """flatten → encoder → linear code → decoder, with the encoder's widths in reverse → linear.

    A hidden layer is linear → norm → activation → dropout. By default, the sizes are 256, 128, 64,
    code 16, 64, 128, 256, and activations are sigmoid. The network of both sources for MNIST is
    ``autoencoder(widths=[1000, 500, 250], code=30)``: 784-1000-500-250-30-250-500-1000-784, a
    problem on which plain gradient descent from small random weights fails.

    Differs from the sources: their outputs are sigmoid, trained with cross-entropy, and they report
    the squared error. Here outputs are linear and the squared error is the loss, so that any input
    works, including standardized tables; outputs may be outside an image's [0, 1].

    Args:
        options: widths, code, activation, normalization, biases and dropout rate.
        input_shape: any shape of one input, flattened in its logical order (channels, height,
            width).
        outputs: number of outputs: the size of the input, if the target is the input.

    Raises: `FitError` with norm=ws if a hidden layer has a single input.

    Sources: Hinton, Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006;
    Martens, Deep Learning via Hessian-free Optimization, 2010.
    """

    def __init__(
        self, options: AutoencoderOptions, input_shape: tuple[int, ...], outputs: int
    ) -> None:
        super().__init__()
        widths = options.widths
        functions = activations.get_per_layer(options.activation, 2 * len(widths))
        self.encoder = _make_hidden_layers(
            options, (math.prod(input_shape), *widths), functions[: len(widths)]
        )
        self.code = nn.Linear(widths[-1], options.code)
        self.decoder = _make_hidden_layers(
            options, (options.code, *reversed(widths)), functions[len(widths) :]
        )
        self.output = nn.Linear(widths[0], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) → (N, outputs)."""
        h = x.flatten(1)
        for layer in self.encoder:
            h = layer(h)
        h = self.code(h)
        for layer in self.decoder:
            h = layer(h)
        output: Tensor = self.output(h)
        return output


class HiddenLayer(nn.Module):
    """linear → norm → activation → dropout."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        activation: activations.Activation,
        options: AutoencoderOptions,
    ) -> None:
        super().__init__()
        self.linear = normalization.standardize_layers(
            options.norm, nn.Linear(inputs, outputs, bias=options.bias)
        )
        self.norm = normalization.make_feature_norm(options.norm, outputs)
        self.activation = activation.build()
        self.dropout = Dropout(options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) → (N, outputs)."""
        output: Tensor = self.dropout(self.activation(self.norm(self.linear(x))))
        return output


def _make_hidden_layers(
    options: AutoencoderOptions,
    sizes: tuple[int, ...],
    functions: tuple[activations.Activation, ...],
) -> nn.ModuleList:
    layers = zip(pairwise(sizes), functions, strict=True)
    return nn.ModuleList(HiddenLayer(n, m, function, options) for (n, m), function in layers)


REGISTRY.add(
    ModelEntry(
        name="autoencoder",
        summary="A deep autoencoder: 256, 128, 64 sigmoid, a linear code of 16, 64, 128, 256 "
        "sigmoid, the input again.",
        options=AutoencoderOptions,
        build=Autoencoder,
        input="any",
        task="autoencoding",
        channels_last=False,
        paper="Hinton, Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, "
        "2006",
    )
)
