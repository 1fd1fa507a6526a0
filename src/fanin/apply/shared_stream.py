"""The repeated random stream of Keras 3, for comparisons with programs that have it.

A Keras 3 initializer with an integer seed, also the one that it draws for itself when none is
given, starts the same stream at every call. A program that makes one initializer and gives it to
all layers therefore gets layers that are not independent draws: the shorter layer is the beginning
of the longer one, up to scale. `sample_in_keras_order` makes "the beginning" mean the same numbers
as there, because Keras stores a kernel as (*kernel, in, out).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fanin.fans import WeightLayout
from fanin.initializers import Initializer

STREAM = "shared by all weights"
"""The name of the one stream."""


def sample_in_keras_order(
    initializer: Initializer, layout: WeightLayout, generator: torch.Generator
) -> Tensor:
    """Draw a weight whose numbers follow one another as in Keras: (*kernel, in, out), the last axis
    fastest.

    For linear layers and convolutions without groups; any other layout is drawn in its own order.
    """
    if layout.groups != 1 or layout.transposed or len(layout.shape) < 2:
        return initializer.sample(layout, generator)
    outputs, inputs, *kernel = layout.shape
    flat = WeightLayout((layout.matrices_shape[2], outputs), layout.fans, transposed=True)
    drawn = initializer.sample(flat, generator).reshape(*kernel, inputs, outputs)
    return drawn.permute(-1, -2, *range(len(kernel)))
