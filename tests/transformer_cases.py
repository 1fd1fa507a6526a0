"""Cases of the transformers' tests: sequences, models of them, torch's own layer with a block's
weights, training by heart.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fanin
from fanin import models, seeds
from fanin.apply import Record
from fanin.models.transformer_blocks import StackOptions, TransformerBlock

STEPS, FEATURES, VOCABULARY, CLASSES = 7, 5, 11, 3
RULES = (
    "auto",
    "he_normal",
    "small_init",
    "wang_init(layers=4)",
    "xavier_uniform",
    "torch_default",
    "keras_default",
)
TRAINED_RULES = [
    rule if rule in ("he_normal", "small_init") else pytest.param(rule, marks=pytest.mark.slow)
    for rule in RULES
]
"""The same for tests that train: two of them every day, all of them nightly."""


def vectors(count: int = 4, steps: int = STEPS, features: int = FEATURES) -> Tensor:
    """Standard normal sequences (N, steps, features), the same every time."""
    return torch.randn(count, steps, features, generator=seeds.make_generator(0, "x"))


def tokens(count: int = 4, steps: int = STEPS, vocabulary: int = VOCABULARY) -> Tensor:
    """Random tokens (N, steps), the same every time."""
    return torch.randint(vocabulary, (count, steps), generator=seeds.make_generator(0, "t"))


def of_vectors(spec: str, *, per_step: bool = False) -> nn.Module:
    """The model of a spec for `vectors`."""
    return models.get(spec).build((STEPS, FEATURES), CLASSES, per_step=per_step)


def of_tokens(
    spec: str, *, per_step: bool = False, outputs: int = CLASSES, **sizes: int
) -> nn.Module:
    """The model of a spec for `tokens`."""
    shape, vocabulary = (sizes.get("steps", STEPS),), sizes.get("vocabulary", VOCABULARY)
    return models.get(spec).build(shape, outputs, vocabulary=vocabulary, per_step=per_step)


def randomised(module: nn.Module) -> nn.Module:
    """The module with every parameter drawn from N(1/2, 1/4), so that none is neutral, in fp64."""
    for index, parameter in enumerate(module.double().parameters()):
        parameter.data.normal_(generator=seeds.make_generator(0, "w", index)).mul_(0.5).add_(0.5)
    return module


def torch_layer(block: TransformerBlock, options: StackOptions) -> nn.TransformerEncoderLayer:
    """torch's own layer with the weights of a block."""
    layer = nn.TransformerEncoderLayer(
        options.width,
        options.heads,
        4 * options.width,
        dropout=0.0,
        activation=options.activation,
        batch_first=True,
        norm_first=options.norm == "pre",
        dtype=torch.float64,
    )
    own = block.state_dict()
    packed = {
        kind: torch.cat([own[f"attention.{name}.{kind}"] for name in ("query", "key", "value")])
        for kind in ("weight", "bias")
    }
    theirs = {f"self_attn.in_proj_{kind}": value for kind, value in packed.items()}
    theirs |= {
        name.replace("attention.output", "self_attn.out_proj").replace("mlp.", ""): value
        for name, value in own.items()
    }
    layer.load_state_dict(
        {name: value for name, value in theirs.items() if not name.startswith("attention.")}
    )
    return layer


def by_heart(
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    rule: str = "he_normal",
    *,
    steps: int = 300,
    lr: float = 1e-3,
) -> bool:
    """Whether Adam teaches an initialized model all labels within so many steps."""
    fanin.initialize(module, rule, seed=0, batch=x[:2])
    optimizer = torch.optim.Adam(module.parameters(), lr)
    for _ in range(steps):
        outputs: Tensor = module(x)
        if bool((outputs.argmax(-1) == y).all()):
            return True
        optimizer.zero_grad()
        F.cross_entropy(outputs.flatten(0, -2), y.flatten()).backward()
        optimizer.step()
    return False


def labels(*shape: int, classes: int = CLASSES) -> Tensor:
    """Random classes, the same every time."""
    return torch.randint(classes, shape, generator=seeds.make_generator(0, "y"))


def record_of(module: nn.Module, rule: str, x: Tensor) -> Record:
    """The record of an initialization."""
    return fanin.initialize(module, rule, seed=0, batch=x[:2])
