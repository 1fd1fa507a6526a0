"""`vit` and `mixer`: images as rows of tokens."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from model_cases import CIFAR, CLASSES, DIGITS, MNIST, count, images, initialized, kinds, overfits
from torch import Tensor

import fanin
from fanin import models
from fanin.errors import FitError, SpecError
from fanin.models.mixer import Mixer, MixerOptions
from fanin.models.vit import ViT, ViTOptions

pytestmark = pytest.mark.usefixtures("draws_globally")


def norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def two_layers(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return linear(F.gelu(linear(x, w, f"{name}.linear1")), w, f"{name}.linear2")


def attention(x: Tensor, w: dict[str, Tensor], name: str, heads: int) -> Tensor:
    size = x.shape[2] // heads
    q, k, v = (linear(x, w, f"{name}.{part}").split(size, 2) for part in ("query", "key", "value"))
    mixed = [
        torch.softmax(q[head] @ k[head].transpose(1, 2) / math.sqrt(size), 2) @ v[head]
        for head in range(heads)
    ]
    return linear(torch.cat(mixed, 2), w, f"{name}.output")


def patches(x: Tensor, w: dict[str, Tensor], side: int) -> Tensor:
    """Patch by patch, row by row, each flattened in the order channels, rows, columns."""
    rows, columns = range(0, x.shape[2], side), range(0, x.shape[3], side)
    flat = torch.stack(
        [x[:, :, i : i + side, j : j + side].flatten(1) for i in rows for j in columns], 1
    )
    return flat @ w["patches.conv.weight"].flatten(1).T + w["patches.conv.bias"]


@pytest.mark.parametrize("place", ["pre", "post", "none"])
@pytest.mark.parametrize("pool", ["token", "mean"])
def test_vit_is_the_formula_of_its_docstring(place: str, pool: str) -> None:
    module = models.get(f"vit(width=8, depth=1, heads=2, norm={place}, pool={pool})").build(
        (2, 8, 12), 3
    )
    module.get_parameter("positions").data.normal_()
    w, x = module.state_dict(), images((2, 8, 12))
    tokens = patches(x, w, 4)
    if pool == "token":
        module.get_parameter("token").data.normal_()
        tokens = torch.cat([w["token"].expand(4, 1, 8), tokens], 1)
    tokens = tokens + w["positions"]
    for branch in (
        lambda y: attention(y, w, "blocks.0.attention", 2),
        lambda y: two_layers(y, w, "blocks.0.mlp"),
    ):
        inner = branch(norm(tokens)) if place == "pre" else branch(tokens)
        tokens = norm(tokens + inner) if place == "post" else tokens + inner
    tokens = norm(tokens) if place == "pre" else tokens
    read = tokens[:, 0] if pool == "token" else tokens.mean(1)
    torch.testing.assert_close(module(x), linear(read, w, "output"))


def test_mixer_is_the_formula_of_its_docstring() -> None:
    module = models.get("mixer(width=8, depth=1)").build((2, 8, 12), 3)
    w, x = module.state_dict(), images((2, 8, 12))
    tokens = patches(x, w, 4)
    tokens = tokens + two_layers(norm(tokens).transpose(1, 2), w, "blocks.0.tokens").transpose(1, 2)
    tokens = tokens + two_layers(norm(tokens), w, "blocks.0.channels")
    torch.testing.assert_close(module(x), linear(norm(tokens).mean(1), w, "output"))


def test_parameters_number_what_the_layers_add_up_to() -> None:
    block = 4 * 65 * 64 + 65 * 256 + 257 * 64 + 2 * 128
    assert (
        count(models.get("vit").build(CIFAR, 10)) == 49 * 64 + 64 + 65 * 64 + 4 * block + 128 + 650
    )
    block = 65 * 32 + 33 * 64 + 65 * 256 + 257 * 64 + 2 * 128
    assert count(models.get("mixer").build(CIFAR, 10)) == 49 * 64 + 4 * block + 128 + 650


def test_the_smallest_mixer_of_the_source_has_its_published_size() -> None:
    with torch.device("meta"):
        found = count(Mixer(MixerOptions(patch=16, width=512, depth=8), (3, 224, 224), 1000))
    assert round(found / 1e6) == 19  # table 1: S/16 has 19 M


def test_the_base_vit_of_the_source_has_its_published_size() -> None:
    with torch.device("meta"):
        found = count(ViT(ViTOptions(patch=16, width=768, depth=12, heads=12), (3, 224, 224), 1000))
    assert round(found / 1e6) in (86, 87)  # table 1: 86 M, with a head for other data


def test_names_of_parameters_are_frozen() -> None:
    vit = models.get("vit(depth=1)").build(CIFAR, 10)
    assert kinds(vit) == [
        "patches.conv",
        *(
            f"blocks.0.{name}"
            for name in ("norm1", *(f"attention.{n}" for n in ("query", "key", "value", "output")))
        ),
        *(f"blocks.0.{name}" for name in ("norm2", "mlp.linear1", "mlp.linear2")),
        *("norm", "output"),
    ]
    assert {name for name, _ in vit.named_parameters() if "." not in name} == {"token", "positions"}
    assert kinds(models.get("mixer(depth=1)").build(CIFAR, 10)) == [
        "patches.conv",
        *(f"blocks.0.{name}" for name in ("norm1", "tokens.linear1", "tokens.linear2")),
        *(f"blocks.0.{name}" for name in ("norm2", "channels.linear1", "channels.linear2")),
        *("norm", "output"),
    ]


def test_without_positions_a_vit_is_blind_to_the_order_of_the_patches_and_with_them_it_is_not() -> (
    None
):
    module = initialized("vit(pool=mean)", DIGITS)
    x = images(DIGITS)
    swapped = torch.cat([x[:, :, 4:], x[:, :, :4]], 2)
    torch.testing.assert_close(module(x), module(swapped), rtol=1e-4, atol=1e-5)
    fanin.initialize(module, {"positions": "normal(std=1.0)"}, default="keep", seed=0)
    assert not torch.allclose(module(x), module(swapped), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "spec",
    [
        "vit(norm=post)",
        "vit(norm=none)",
        "vit(pool=mean, bias=false)",
        "mixer(norm=false)",
        "mixer(bias=false)",
    ],
)
def test_every_option_learns_random_labels_by_heart(spec: str) -> None:
    assert overfits(initialized(spec, DIGITS, "xavier_uniform"), DIGITS)


def test_dropout_stands_behind_every_layer_of_a_block_and_is_keyed() -> None:
    module = models.get("vit(depth=1, dropout=0.5)").build(DIGITS, 10)
    keys = models.DropoutKeys(module, 0)
    assert set(keys.layers) == {
        "dropout",
        *(f"blocks.0.{n}" for n in ("attention.dropout", "mlp.dropout1", "mlp.dropout2")),
    }
    x = images(DIGITS)
    first = module(x)
    assert torch.equal(first, module(x))
    keys.set(0, 1)
    assert not torch.allclose(first, module(x))


def test_plain_modules_can_be_made_by_hand() -> None:
    assert ViT(ViTOptions(patch=7, heads=2, depth=1, dropout=0.1), MNIST, 3)(
        images(MNIST)
    ).shape == (4, 3)
    assert Mixer(MixerOptions(patch=2, width=8, token_width=5, depth=1), MNIST, 3)(
        images(MNIST)
    ).shape == (4, 3)


def test_equal_networks_have_one_identity() -> None:
    assert models.get("mixer(token_width=32)").spec == "mixer"
    assert models.get("mixer(token_width=16, width=32)").spec == "mixer(width=32)"
    assert models.get("vit(norm=pre, pool=token, dropout=0)").spec == "vit"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("vit(heads=5)", "received width=64, heads=5. Use a number of heads that divides"),
        ("vit(heads=0)", "heads is a whole number from 1"),
        ("vit(norm=layer)", "pre or post or none"),
        ("vit(pool=class)", "malformed"),
        ("vit(pool=max)", "one of token, mean"),
        ("mixer(patch=0)", "patch is a whole number from 1"),
        ("mixer(token_width=0)", "token_width is a whole number from 1"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_says_what_was_expected(
    spec: str, says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        models.get(spec)


@pytest.mark.parametrize("name", ["vit", "mixer"])
def test_images_that_patches_do_not_cover_do_not_fit(name: str) -> None:
    with pytest.raises(
        FitError,
        match=f"{name} with patch=5 needs images whose sides are multiples of 5; "
        "the data has 1×8×8",
    ):
        models.get(f"{name}(patch=5)").build(DIGITS, CLASSES)
