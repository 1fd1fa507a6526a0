"""Sound models with unusual starts: the judges of weights find nothing in them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from audit_weight_cases import draw, draw_tokens, examine, judge, make_mlp
from combinations import for_each
from torch import Tensor, nn
from zoo_cases import build, make_batch

import fanin
from fanin import initializers, seeds
from fanin.diagnosis.findings.weight_judges import JUDGES

WIDTH = 16


class Sum(nn.Module):
    """What a function makes of its modules and an input."""

    def __init__(self, code: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.code = code

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self, x)


def clear(module: nn.Module) -> nn.Module:
    """The module with zeros."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def dense(inputs: int = WIDTH, outputs: int = WIDTH) -> nn.Linear:
    return nn.Linear(inputs, outputs)


def make_lora() -> nn.Module:
    """A frozen layer, A drawn, B zero, twice; and a head."""

    def run(m: Any, x: Tensor) -> Tensor:
        for index in "12":
            base, a, b = (m.get_submodule(f"{part}{index}") for part in ("base", "a", "b"))
            x = torch.relu(base(x) + b(a(x)))
        output: Tensor = m.head(x)
        return output

    parts: dict[str, nn.Module] = {"head": dense(WIDTH, 4)}
    for index in "12":
        parts |= {
            f"base{index}": dense().requires_grad_(requires_grad=False),
            f"a{index}": nn.Linear(WIDTH, 4, bias=False),
            f"b{index}": clear(nn.Linear(4, WIDTH, bias=False)),
        }
    return Sum(run, **parts)


def make_control_net() -> nn.Module:
    """A copy of the encoder whose zero convolutions feed the frozen network."""

    def run(m: Any, x: Tensor) -> Tensor:
        control = m.zero1(m.control(x + m.zero0(x)))
        output: Tensor = m.decoder(torch.relu(m.encoder(x)) + control)
        return output

    encoder = nn.Conv2d(3, 8, 3, padding=1)
    control = nn.Conv2d(3, 8, 3, padding=1)
    return Sum(
        run,
        encoder=encoder.requires_grad_(requires_grad=False),
        control=control,
        zero0=clear(nn.Conv2d(3, 3, 1)),
        zero1=clear(nn.Conv2d(8, 8, 1)),
        decoder=nn.Conv2d(8, 3, 3, padding=1).requires_grad_(requires_grad=False),
    )


def make_diffusion_transformer() -> nn.Module:
    """adaLN-zero: scales, shifts and gates of every block start at 0; so does the last layer."""

    def run(m: Any, x: Tensor) -> Tensor:
        condition = x.mean(1, keepdim=True)
        for index in range(3):
            scale, shift, gate = m.adapt[index](nn.functional.silu(condition)).chunk(3, -1)
            h = m.norm(x) * (1 + scale) + shift
            x = x + gate * m.down[index](nn.functional.gelu(m.up[index](h)))
        output: Tensor = m.last(m.norm(x))
        return output

    return Sum(
        run,
        norm=nn.LayerNorm(WIDTH, elementwise_affine=False),
        adapt=nn.ModuleList(clear(dense(WIDTH, 3 * WIDTH)) for _ in range(3)),
        up=nn.ModuleList(dense(WIDTH, 32) for _ in range(3)),
        down=nn.ModuleList(dense(32, WIDTH) for _ in range(3)),
        last=clear(dense()),
    )


def make_fixup() -> nn.Module:
    """The last layer of every branch is 0, and so is the head."""

    def run(m: Any, x: Tensor) -> Tensor:
        for first, second in zip(m.first, m.second, strict=True):
            x = x + second(torch.relu(first(torch.relu(x))))
        output: Tensor = m.head(x)
        return output

    return Sum(
        run,
        first=nn.ModuleList(dense() for _ in range(4)),
        second=nn.ModuleList(clear(dense()) for _ in range(4)),
        head=clear(dense(WIDTH, 4)),
    )


def make_shared() -> nn.Module:
    """ALBERT: one layer, called four times."""

    def run(m: Any, x: Tensor) -> Tensor:
        for _ in range(4):
            x = m.layer(x)
        output: Tensor = m.head(x)
        return output

    return Sum(
        run,
        layer=nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True),
        head=dense(WIDTH, 4),
    )


class StateSpace(nn.Module):
    """Mamba's A: the same table in every block; and a position table of zeros."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.arange(1.0, 9.0).log().expand(WIDTH, 8)
        self.tables = nn.ParameterList(nn.Parameter(table.clone()) for _ in range(4))
        self.maps = nn.ModuleList(dense() for _ in range(4))
        self.positions = nn.Parameter(torch.zeros(5, WIDTH))
        self.skip = nn.Parameter(torch.ones(4, WIDTH))
        self.register_buffer("mask", torch.ones(5, 5).tril())

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.positions
        for index, table in enumerate(self.tables):
            decay = torch.exp(-table.exp()).sum(-1)
            x = x * self.skip[index] + torch.tanh(self.maps[index](x)) * decay
        return x


def make_cnn(*, gamma: float = 1.0, scale: float = 1.0) -> nn.Module:
    """Residual blocks whose last normalization starts at `gamma`, or that are scaled."""

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        for conv, norm, factor in zip(m.convs, m.norms, m.scales, strict=True):
            x = x + factor * torch.relu(norm(conv(x)))
        output: Tensor = m.head(x.mean((2, 3)))
        return output

    norms = [nn.BatchNorm2d(8) for _ in range(4)]
    for norm in norms:
        nn.init.constant_(norm.weight, gamma)
    model = Sum(
        run,
        stem=nn.Conv2d(3, 8, 3, padding=1),
        convs=nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1, groups=g) for g in (1, 8, 1, 2)),
        norms=nn.ModuleList(norms),
        head=dense(8, 4),
    )
    model.scales = nn.ParameterList(  # type: ignore[assignment]
        nn.Parameter(torch.full((8, 1, 1), scale)) for _ in range(4)
    )
    return model


def make_prior_head() -> nn.Module:
    """RetinaNet's head: every logit starts at the log-odds of 1 %."""
    model = make_mlp(WIDTH, 32, 32, 20)
    nn.init.constant_(model[4].bias, -4.6)  # type: ignore[arg-type]
    nn.init.normal_(model[4].weight, std=0.01)  # type: ignore[arg-type]
    return model


def make_embedding_head() -> nn.Module:
    """Tied ends, and padding."""
    embedding = nn.Embedding(50, WIDTH, padding_idx=0)
    head = nn.Linear(WIDTH, 50, bias=False)
    head.weight = embedding.weight
    return nn.Sequential(embedding, dense(), nn.GELU(), head)


SEQUENCE, IMAGE, ROWS = (3, 5, WIDTH), (2, 3, 8, 8), (8, WIDTH)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "LoRA": (make_lora, ROWS),
    "ControlNet": (make_control_net, IMAGE),
    "DiT": (make_diffusion_transformer, SEQUENCE),
    "Fixup": (make_fixup, ROWS),
    "ALBERT": (make_shared, SEQUENCE),
    "Mamba": (StateSpace, SEQUENCE),
    "ResNet": (make_cnn, IMAGE),
    "zero gamma": (lambda: make_cnn(gamma=0.0), IMAGE),
    "ReZero": (lambda: make_cnn(scale=0.0), IMAGE),
    "LayerScale": (lambda: make_cnn(scale=1e-6), IMAGE),
    "RetinaNet": (make_prior_head, ROWS),
    "one unit": (lambda: make_mlp(WIDTH, 1, 1, 4), ROWS),
    "two units": (lambda: make_mlp(WIDTH, 2, 2, 2, 1), ROWS),
    "wide": (lambda: make_mlp(WIDTH, 512, 512, 10), ROWS),
    "weight norm": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(dense()),
            nn.Tanh(),
            nn.utils.parametrizations.orthogonal(dense()),
            nn.Tanh(),
            nn.utils.parametrizations.spectral_norm(dense(WIDTH, 4)),
        ),
        ROWS,
    ),
}


@for_each("name", MODELS)
def test_sound_models_have_no_finding(name: str) -> None:
    make, shape = MODELS[name]
    with seeds.preserve_torch_state(0):
        model, batch = make(), draw(*shape)
    assert judge(model, batch) == []


def test_tied_ends_with_padding_are_sound() -> None:
    with seeds.preserve_torch_state(0):
        model = make_embedding_head()
    assert judge(model, draw_tokens(50, 2, 6)) == []


_SKIPPED = ("zero", "constant", "forget_gate", "chrono", "wang_init", "delta_orthogonal")
"""Those that leave weights constant, and those that need options or other layers."""
_EXPANDING = ("identity", "dirac")
"""The units that these add to the inputs are all alike, and never separate."""
_EMPTY_ROWS = ("hadamard", "sinusoidal")
"""Some of their units start dead in some shapes, as their descriptions say: F016 is right."""
_FOR_PLAIN_NETWORKS = [
    entry.name
    for entry in initializers.REGISTRY
    if entry.example == entry.name
    and not {"structure", "data", "loss"} & set(entry.needs)
    and entry.name not in (*_SKIPPED, *_EMPTY_ROWS)
]


@for_each("name", _FOR_PLAIN_NETWORKS)
@for_each("sizes", [(WIDTH, 24, 24, 24, 24, 24, 4), (WIDTH,) * 7, (2, 2, 1), (1, 8, 1)])
def test_what_an_initializer_writes_is_sound(name: str, sizes: tuple[int, ...]) -> None:
    if name in _EXPANDING and len(set(sizes)) > 1:
        return
    model = make_mlp(*sizes)
    batch = draw(8, sizes[0])
    fanin.initialize(model, name, seed=0, batch=batch)
    assert judge(model, batch) == []


def test_models_of_transformers_are_sound() -> None:
    pytest.importorskip("transformers")
    for kind in ("gpt2", "bert", "albert", "mamba"):
        model = build(kind)
        assert model is not None
        assert judge(model, make_batch(model)) == []


@pytest.mark.slow
def test_a_large_model_takes_little_time() -> None:
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(
            nn.Embedding(50_000, 768),
            *(part for _ in range(24) for part in (nn.Linear(768, 1536), nn.Linear(1536, 768))),
        )
    examination = examine(model, draw_tokens(50_000, 2, 4))
    start = time.process_time()
    assert [finding for find in JUDGES for finding in find(examination)] == []
    assert (
        time.process_time() - start < 4
    )  # for 95 M numbers; 0.3 s were measured for GPT-2's 124 M on one thread
