"""widen and deepen: the larger model computes the same in fp64, or is refused."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from combinations import for_each
from torch import Tensor, nn

import fanin
from fanin import models, seeds
from fanin.additions.channel_copies import ChannelCopies
from fanin.errors import FaninError, FitError, UnknownName, UsageError

pytestmark = pytest.mark.usefixtures("draws_globally")

NEEDS_TRANSFORMERS = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason='needs the extra "peers"'
)

IDS = torch.arange(24).reshape(4, 6)


def normal(*shape: int) -> Tensor:
    """Fixed random numbers, fp64."""
    return seeds.standard_normal(shape, seeds.make_generator(0, "test")).double()


IMAGES = normal(6, 3, 8, 8)


class Residual(nn.Module):
    """Two convolutions beside a shortcut, with batch norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width + 1, 3, padding=1)
        self.norm = nn.BatchNorm2d(width + 1)
        self.second = nn.Conv2d(width + 1, width, 3, padding=1)
        self.end = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same."""
        return F.relu(x + self.end(self.second(F.relu(self.norm(self.first(x))))))


class Attention(nn.Module):
    """Two key heads, four query heads, of a head dimension that the module knows."""

    def __init__(self, width: int, head: int = 3) -> None:
        super().__init__()
        self.head = head
        self.q, self.k = nn.Linear(width, 4 * head), nn.Linear(width, 2 * head, bias=False)
        self.v, self.o = nn.Linear(width, 2 * head), nn.Linear(4 * head, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) → the same."""
        q, k, v = (
            layer(x).unflatten(-1, (-1, self.head)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        k, v = (one.repeat_interleave(q.shape[1] // k.shape[1], 1) for one in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        output: Tensor = self.o(mixed.transpose(1, 2).flatten(2))
        return output


class Block(nn.Module):
    """A transformer block with a gated unit; norms before the branches, or after the sums."""

    def __init__(self, width: int, *, post: bool = False) -> None:
        super().__init__()
        self.post = post
        self.attention, self.norms = Attention(width), nn.ModuleList(map(nn.LayerNorm, [width] * 2))
        self.gate, self.up, self.down = (
            nn.Linear(width, 10),
            nn.Linear(width, 10),
            nn.Linear(10, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) → the same."""
        if self.post:
            x = self.norms[0](x + self.attention(x))
            output: Tensor = self.norms[1](x + self.down(F.silu(self.gate(x)) * self.up(x)))
            return output
        x = x + self.attention(self.norms[0](x))
        y = self.norms[1](x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Language(nn.Module):
    """Embedding, blocks, norm, head."""

    def __init__(self, width: int = 8, *, post: bool = False, tie: bool = False) -> None:
        super().__init__()
        self.tokens = nn.Embedding(30, width)
        self.blocks = nn.ModuleList([Block(width, post=post) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 30)
        if tie:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        """(N, T) → (N, T, 30)."""
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        output: Tensor = self.head(self.norm(x))
        return output


def train_a_little(model: nn.Module, batch: Tensor) -> nn.Module:
    """Weights, scales and statistics that are no start any more; fp64, eval mode."""
    model = model.double().train()
    generator = seeds.make_generator(3, "test")
    with torch.no_grad():
        for parameter in model.parameters():
            noise = seeds.standard_normal(tuple(parameter.shape), generator)
            parameter.add_(0.1 * noise.to(parameter.dtype))
        for _ in range(3):
            model(batch)
    return model.eval()


def make_convolutions() -> nn.Module:
    """All kinds of layers between which channels can grow."""
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 4, 3, groups=4), nn.InstanceNorm2d(4, affine=True), nn.Tanh()),
        *(nn.ConvTranspose2d(4, 6, 2), nn.PReLU(6), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(24, 7), nn.LayerNorm(7), nn.GELU(), nn.Linear(7, 5)),
    )


def make_residual() -> nn.Module:
    """A ResNet with two blocks."""
    return nn.Sequential(
        *(nn.Conv2d(3, 5, 1), nn.ReLU(), Residual(5), Residual(5)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)),
    )


GROWN: dict[str, tuple[Callable[[], nn.Module], Tensor, dict[str, int]]] = {
    "convolutions": (make_convolutions, IMAGES, {"0": 9, "6": 8, "11": 14}),
    "residual stream": (make_residual, IMAGES, {"0": 8, "2.first": 7}),
    "group norm": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(3, 6), nn.Conv2d(6, 2, 3)),
        IMAGES,
        {"0": 18},
    ),
    "gated unit": (Language, IDS, {"blocks.0.up": 13, "blocks.1.gate": 11}),
    "heads": (Language, IDS, {"blocks.0.attention.q": 24, "blocks.1.attention.v": 9}),
    "stream": (Language, IDS, {"tokens": 24}),
    "post-norm": (lambda: Language(post=True), IDS, {"tokens": 16, "blocks.0.up": 15}),
}


@for_each("name", GROWN)
def test_a_wider_model_computes_the_same(name: str) -> None:
    make, batch, widths = GROWN[name]
    model = train_a_little(make(), batch)
    before = copy.deepcopy(model.state_dict())
    for split in ("uneven", "even"):
        state = torch.random.get_rng_state()
        grown = fanin.widen(model, widths, batch=batch, seed=1, split=split)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert grown.deviation < 1e-13
        for path, width in widths.items():
            layer: Any = grown.model.get_submodule(path)
            found = layer.bias if getattr(layer, "bias", None) is not None else layer.weight.T
            assert len(found) == width
        assert torch.equal(model(batch), make_like(model, before)(batch))
        torch.testing.assert_close(grown.model(batch), model(batch), atol=1e-12, rtol=0)
        assert grown.parameters[1] > grown.parameters[0]


def test_the_seed_decides_which_channels_are_copied() -> None:
    net, batch = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), torch.ones(1, 4)
    made = [fanin.widen(net, {"0": 12}, batch=batch, seed=seed).model for seed in (1, 1, 2)]
    assert all(map(torch.equal, made[0].parameters(), made[1].parameters()))
    assert not all(map(torch.equal, made[0].parameters(), made[2].parameters()))


def make_like(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """A copy with the numbers of a state."""
    other = copy.deepcopy(model)
    other.load_state_dict(state)
    return other


def test_statistics_of_a_batch_stay_too() -> None:
    model = train_a_little(make_residual(), IMAGES)
    grown = fanin.widen(model, {"0": 8, "2.first": 9}, batch=IMAGES, seed=0).model
    torch.testing.assert_close(grown.train()(IMAGES), model.train()(IMAGES), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("split", "parts"), [("uneven", True), ("even", False)])
def test_uneven_shares_let_copies_part(split: Any, parts: bool) -> None:
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    grown = fanin.widen(net, {"0": 8}, batch=normal(9, 5), seed=0, split=split).model
    optimizer = torch.optim.SGD(grown.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        grown(normal(9, 5)).square().sum().backward()
        optimizer.step()
    first: Any = grown[0]  # type: ignore[index]
    distances = torch.cdist(first.weight.detach(), first.weight.detach()) + 9 * torch.eye(8)
    copies = int((distances.min(1).values < 1e-9).sum())
    assert (copies == 0) == parts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precision_flags_and_modes_stay(dtype: torch.dtype) -> None:
    model = make_residual().to(dtype).train()
    model[0].weight.requires_grad_(False)  # type: ignore[index]
    batch = IMAGES.to(dtype)
    grown = fanin.widen(model, {"0": 8}, batch=batch, seed=0)
    assert {one.dtype for one in grown.model.parameters()} == {dtype}
    assert not grown.model[0].weight.requires_grad  # type: ignore[index]
    assert grown.model.training
    assert grown.deviation < (1e-6 if dtype == torch.float32 else 3e-2)
    if dtype == torch.bfloat16:
        assert grown.deviation > 1e-4  # rounding that is said, not hidden


class Fixed(nn.Module):
    """Something that knows its channels."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.after, self.function = nn.Linear(4, 6), nn.Linear(6, 2), function

    def forward(self, x: Tensor) -> Tensor:
        """(N, 4) → (N, 2)."""
        output: Tensor = self.after(self.function(self.before(x)))
        return output


ROWS = normal(7, 4)
REFUSED: dict[str, tuple[Callable[[], nn.Module], Tensor, dict[str, int], str]] = {
    "output": (make_convolutions, IMAGES, {"14": 8}, "the model's output"),
    "layer norm": (make_convolutions, IMAGES, {"11": 10}, "multiple of 7, such as 14"),
    "softmax": (lambda: Fixed(lambda x: x.softmax(-1)), ROWS, {"before": 9}, "mixes its channels"),
    "halves": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.GLU(), nn.Linear(3, 2)),
        ROWS,
        {"0": 8},
        "mixes its channels",
    ),
    "flipped": (lambda: Fixed(lambda x: x.flip(-1)), ROWS, {"before": 9}, "does not compute"),
    "length": (lambda: Fixed(lambda x: F.normalize(x)), ROWS, {"before": 12}, "deviate|fails"),
    "view": (lambda: Fixed(lambda x: x.view(-1, 6) + 1), ROWS, {"before": 9}, "fails on the batch"),
    "tied": (lambda: Language(tie=True), IDS, {"tokens": 16}, "are tied"),
    "attention": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.TransformerEncoderLayer(6, 2), nn.Linear(6, 2)),
        ROWS[None],
        {"0": 12},
        "MultiheadAttention, which cannot grow",
    ),
    "groups": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 1, 1)),
        IMAGES,
        {"0": 8},
        "Conv2d, which cannot grow",
    ),
    "heads": (Language, IDS, {"blocks.0.attention.q": 14}, "whole heads"),
    "different": (Language, IDS, {"tokens": 16, "blocks.0.down": 24}, "give one width"),
}


@for_each("name", REFUSED)
def test_what_cannot_be_kept_is_refused_and_nothing_changes(name: str) -> None:
    make, batch, widths, text = REFUSED[name]
    model = make().double()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(FaninError, match=text):
        fanin.widen(model, widths, batch=batch, seed=0)
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())


def test_a_planted_mistake_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns that are copied and not divided."""
    shares = ChannelCopies.draw_shares
    monkeypatch.setattr(ChannelCopies, "draw_shares", lambda *args: torch.ones_like(shares(*args)))
    with pytest.raises(FitError, match="does not compute the same"):
        fanin.widen(make_convolutions(), {"0": 9}, batch=IMAGES.float(), seed=0)


@pytest.mark.parametrize(
    ("widths", "error", "text"),
    [
        ({}, UsageError, "widths are"),
        ({"99": 3}, UnknownName, "99"),
        ({"2": 3}, UsageError, "is a ReLU"),
        ({"0": 4}, UsageError, "4 are not more"),
        ({"0": 2.5}, UsageError, "not more"),
    ],
)
def test_bad_widths_are_errors(widths: Any, error: type[FaninError], text: str) -> None:
    with pytest.raises(error, match=text):
        fanin.widen(make_convolutions(), widths, batch=IMAGES.float(), seed=0)


# --- depth


def make_relus() -> nn.Module:
    """Convolutions and linear layers with ReLU."""
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(144, 9), nn.ReLU(), nn.Linear(9, 2)),
    )


DEEPER: dict[str, tuple[Callable[[], nn.Module], Tensor, list[str]]] = {
    "activations": (make_relus, IMAGES, ["2", "5", "5"]),
    "residual blocks": (make_residual, IMAGES, ["2", "3"]),
    "pre-norm blocks": (Language, IDS, ["blocks.0", "blocks.1", "blocks.1"]),
}


@for_each("name", DEEPER)
def test_a_deeper_model_computes_the_same_and_its_new_layers_learn(name: str) -> None:
    make, batch, after = DEEPER[name]
    model = train_a_little(make(), batch)
    before = copy.deepcopy(model.state_dict())
    grown = fanin.deepen(model, after, batch=batch)
    assert grown.deviation < 1e-13
    torch.testing.assert_close(grown.model(batch), model(batch), atol=1e-12, rtol=0)
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())
    grown.model(batch).square().sum().backward()
    new = [one.layer for one in grown.layers]
    assert len(new) >= len(after)
    for path in new:
        parameters = list(grown.model.get_submodule(path).parameters())
        assert not parameters or any(
            one.grad is not None and bool(one.grad.any()) for one in parameters
        )


def test_the_named_children_of_a_sequential_keep_their_names() -> None:
    net = nn.Sequential()
    for name, child in (("fc", nn.Linear(4, 5)), ("act", nn.ReLU()), ("out", nn.Linear(5, 2))):
        net.add_module(name, child)
    grown = fanin.deepen(net, ["act", "act"], batch=ROWS.float())
    names = [name for name, _ in grown.model.named_children()]
    assert [name for name in names if name in ("fc", "act", "out")] == ["fc", "act", "out"]
    assert len(names) == len(set(names)) == 7


class Counting(Language):
    """A model that runs as many blocks as it once had."""

    def __init__(self) -> None:
        super().__init__()
        self.count = len(self.blocks)

    def forward(self, ids: Tensor) -> Tensor:
        """(N, T) → (N, T, 30)."""
        x = self.tokens(ids)
        for block in self.blocks[: self.count]:  # type: ignore[union-attr]
            x = block(x)
        output: Tensor = self.head(self.norm(x))
        return output


@pytest.mark.parametrize(
    ("make", "after", "batch", "error", "text"),
    [
        (make_convolutions, "13", IMAGES, FitError, "does not compute the same"),
        (lambda: Language(post=True), "blocks.0", IDS, FitError, "normalize after its sums"),
        (Language, "blocks.0.attention", IDS, UsageError, "lies in a Block"),
        (Language, "blocks.7", IDS, UnknownName, "blocks.0"),
        (Language, [], IDS, UsageError, "at least one"),
        (Counting, "blocks.1", IDS, FitError, "does not run blocks.2"),
        (make_relus, "0", IMAGES, FitError, "no block"),
        (lambda: nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), "0", ROWS, FitError, "precedes 0"),
        (lambda: 3, "0", ROWS, UsageError, "torch.nn.Module"),
    ],
)
def test_what_cannot_be_deepened_is_refused(
    make: Callable[[], Any], after: Any, batch: Tensor, error: type[FaninError], text: str
) -> None:
    model = make()
    if isinstance(model, nn.Module):
        train_a_little(model, batch)
    with pytest.raises(error, match=text):
        fanin.deepen(model, after, batch=batch)


def test_the_residual_network_of_fanin_grows_in_width_and_depth() -> None:
    model = models.get("resnet20").build((3, 8, 8), 4)
    model = train_a_little(model, IMAGES)
    wider = fanin.widen(model, {"blocks.0.conv1": 20}, batch=IMAGES, seed=0)
    assert wider.deviation < 1e-13
    assert fanin.deepen(model, "blocks.1", batch=IMAGES).deviation < 1e-13
    with pytest.raises(FitError, match="joined with others"):  # shortcuts padded with zeros
        fanin.widen(model, {"stem": 20}, batch=IMAGES, seed=0)


@NEEDS_TRANSFORMERS
@pytest.mark.filterwarnings("ignore")
def test_models_of_transformers_grow() -> None:
    import transformers

    ids = {"input_ids": torch.arange(10).reshape(2, 5)}
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=50,
        )
    )
    widths = {
        "model.embed_tokens": 32,
        "model.layers.0.mlp.up_proj": 30,
        "model.layers.1.self_attn.k_proj": 12,
    }
    assert fanin.widen(llama, widths, batch=ids, seed=0).deviation < 1e-6
    deeper = fanin.deepen(llama, "model.layers.0", batch=ids)
    assert deeper.deviation < 1e-12
    assert deeper.model.config.num_hidden_layers == 3
    assert [one.self_attn.layer_idx for one in deeper.model.model.layers] == [0, 1, 2]  # type: ignore[union-attr]
    assert llama.config.num_hidden_layers == 2
    with torch.no_grad():
        written = deeper.model.eval().generate(ids["input_ids"], max_new_tokens=3, do_sample=False)  # type: ignore[operator]
        before = llama.eval().generate(ids["input_ids"], max_new_tokens=3, do_sample=False)
    assert torch.equal(written, before)  # with the cache of keys and values
