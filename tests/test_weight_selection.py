"""Weight selection: which entries are taken, from a file and from a state dict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from initializer_cases import generator
from model_level_cases import expect_unchanged
from torch import Tensor, nn
from width_cases import draw, make_encoder, make_gpt2, make_images, needs_transformers, tokens

import fanin
from fanin import seeds
from fanin.errors import FitError, SpecError, UnknownName, UsageError
from fanin.initializers.selected_entries import match_names, select_entries

safetensors = pytest.importorskip("safetensors.torch", reason="the file format")


def save(path: Path, state: dict[str, Tensor]) -> str:
    file = path / "larger.safetensors"
    safetensors.save_file({name: one.contiguous() for name, one in state.items()}, file)
    return str(file)


def spec(file: str, layers: str = "first") -> str:
    return f"weight_selection(source={file!r}, layers={layers})"


def test_evenly_placed_entries_are_taken_along_every_axis() -> None:
    tensor = torch.arange(12 * 10).view(12, 10)
    assert torch.equal(select_entries(tensor, (4, 5)), tensor[::3, ::2])
    assert torch.equal(select_entries(tensor, (12, 4)), tensor[:, [0, 2, 5, 7]])
    assert torch.equal(select_entries(tensor, (5, 10)), tensor[[0, 2, 4, 7, 9]])
    assert torch.equal(select_entries(torch.tensor(3), ()), torch.tensor(3))


def test_a_packed_weight_keeps_the_same_entries_in_each_part() -> None:
    """Also where the smaller size does not divide the larger one."""
    parts = [torch.randn(14, 3, generator=generator(n)) for n in range(3)]
    packed = select_entries(torch.cat(parts), (3 * 5, 3))
    assert torch.equal(packed, torch.cat([select_entries(part, (5, 3)) for part in parts]))


@pytest.mark.parametrize(("layers", "wanted"), [("first", [0, 1]), ("uniform", [0, 3])])
def test_numbers_of_repeated_layers_are_matched_by_rank(layers: str, wanted: list[int]) -> None:
    own = [f"stages.{stage}.blocks.{block}.w" for stage in range(2) for block in range(2)]
    source = [f"stages.{stage}.blocks.{block}.w" for stage in range(2) for block in range(6)]
    found = match_names(own, source, layers)  # type: ignore[arg-type]
    assert list(found.values()) == [
        f"stages.{stage}.blocks.{block}.w" for stage in range(2) for block in wanted
    ]
    assert match_names(source, own, layers)["stages.0.blocks.0.w"] is None  # type: ignore[arg-type]
    assert match_names(["head.w"], source, layers) == {"head.w": None}  # type: ignore[arg-type]


def test_a_network_that_repeats_its_units_is_reduced_to_the_same_function() -> None:
    """Every unit of the larger network is there twice, and what reads it has half of each weight.
    Selection keeps one of each; the weights that read it are then half of what they were.
    """
    with seeds.preserve_torch_state(0):
        small = nn.Sequential(
            nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
        )
        blank = nn.Sequential(
            nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
        )
    state = {
        name: one.detach().repeat_interleave(2, 0) if not name.startswith("4") else one.detach()
        for name, one in small.state_dict().items()
    }
    for name in ("2.weight", "4.weight"):
        state[name] = state[name].repeat_interleave(2, 1)
    fanin.select_weights(blank, state)
    x = draw(4, 6)
    assert torch.equal(blank(x), small(x))


@pytest.mark.parametrize("layers", ["first", "uniform"])
def test_a_file_and_a_state_dict_give_the_same_weights(tmp_path: Path, layers: str) -> None:
    large, one, other = make_encoder(32, 4), make_encoder(16, 2), make_encoder(16, 2)
    selection = fanin.select_weights(one, large.state_dict(), layers=layers)  # type: ignore[arg-type]
    record = fanin.initialize(other, spec(save(tmp_path, large.state_dict()), layers), seed=0)
    for name, weight in one.named_parameters():
        assert torch.equal(weight, other.get_parameter(name)), name
        assert record[name].changed
    source = "layers.2.linear1.weight" if layers == "uniform" else "layers.1.linear1.weight"
    assert selection["layers.1.linear1.weight"].source == source
    assert source in record["layers.1.linear1.weight"].reason
    expected = large.get_parameter(source).detach()[::2, ::2]
    assert torch.equal(one.get_parameter("layers.1.linear1.weight").detach(), expected)


def test_the_stream_keeps_the_same_entries_in_every_layer() -> None:
    """A larger model that marks the entries of its stream: odd ones are 1, even ones 0."""
    large, small = make_images(16), make_images(8)
    marked = {name: torch.zeros_like(one) for name, one in large.state_dict().items()}
    marked["stem.weight"][1::2] = 1
    marked["blocks.0.one.weight"][:, 1::2] = 1
    marked["head.weight"][:, 1::2] = 1
    fanin.select_weights(small, marked)
    assert not any(one.any() for one in small.state_dict().values())


def test_running_statistics_are_selected_and_other_buffers_stay() -> None:
    class Net(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(4, width), nn.BatchNorm1d(width)
            self.register_buffer("mask", torch.arange(width).float())

    with seeds.preserve_torch_state(0):
        large, small = Net(12), Net(6)
    large.norm.running_mean += torch.arange(12)
    large.mask += 100
    fanin.select_weights(small, large.state_dict())
    assert small.norm.running_mean.tolist() == [0, 2, 4, 6, 8, 10]
    assert small.mask.tolist() == [0, 1, 2, 3, 4, 5]


@needs_transformers
def test_gpt2_takes_its_first_blocks_and_leaves_what_is_excluded() -> None:
    large, small = make_gpt2(64, 4), make_gpt2(32, 2)
    before = small.transformer.wpe.weight.detach().clone()
    selection = fanin.select_weights(
        small, large.state_dict(), exclude=["transformer.wpe.*", "transformer.ln_f.*"]
    )
    assert torch.equal(small.transformer.wpe.weight, before)
    assert selection["transformer.wpe.weight"].source is None
    packed, whole = (one.transformer.h[1].attn.c_attn.weight.detach() for one in (small, large))
    assert torch.equal(packed, whole[::2, ::2])
    assert small.eval()(input_ids=tokens()).logits.isfinite().all()


def test_the_readout_of_another_task_is_left_out_of_a_file_too(tmp_path: Path) -> None:
    large, small = make_images(16), make_images(8)
    state = {name: one for name, one in large.state_dict().items() if not name.startswith("head")}
    file = save(tmp_path, state)
    with expect_unchanged(small), pytest.raises(FitError, match=r"nothing for head\.weight"):
        fanin.initialize(small, spec(file), seed=0)
    before = small.head.weight.detach().clone()
    fanin.initialize(small, spec(file), seed=0, exclude="head.*")
    assert torch.equal(small.head.weight, before)
    assert torch.equal(small.stem.weight, large.stem.weight[::2])


def test_low_precision_is_rounded_and_a_model_on_meta_is_refused_or_filled(tmp_path: Path) -> None:
    large, small = make_encoder(32, 2), make_encoder(16, 2).to(torch.bfloat16)
    fanin.select_weights(small, large.state_dict())
    whole = large.layers[0].linear1.weight.detach()
    assert torch.equal(small.layers[0].linear1.weight, whole[::2, ::2].to(torch.bfloat16))
    with torch.device("meta"):
        empty = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2, enable_nested_tensor=False
        )
    with pytest.raises(FitError, match="no memory"):
        fanin.select_weights(empty, large.state_dict())
    fanin.initialize(empty, spec(save(tmp_path, large.state_dict())), seed=0, device="cpu")
    assert torch.equal(empty.layers[0].linear1.weight, whole[::2, ::2])


@pytest.mark.parametrize(
    ("act", "error", "text"),
    [
        (lambda m, s: fanin.select_weights("model", s), UsageError, r"takes a torch\.nn\.Module"),
        (lambda m, s: fanin.select_weights(m, ["weight"]), UsageError, "state dict"),
        (lambda m, s: fanin.select_weights(m, {}), FitError, "nothing of that name"),
        (lambda m, s: fanin.select_weights(m, s, layers="last"), UnknownName, "last"),
        (lambda m, s: fanin.select_weights(m, s, exclude="tail.*"), UsageError, "tail"),
        (
            lambda m, s: fanin.initialize(m, "weight_selection(source='no.safetensors')", seed=0),
            UsageError,
            "cannot be read as a safetensors file",
        ),
        (lambda m, s: fanin.get("weight_selection(source='a.pt')"), SpecError, "save_file"),
        (
            lambda m, s: fanin.select_weights(m, {n: one[:1] for n, one in s.items()}),
            FitError,
            "as large in every dimension",
        ),
    ],
)
def test_what_cannot_be_selected_is_said_and_changes_nothing(
    act: Callable[[nn.Module, dict[str, Tensor]], object], error: type[Exception], text: str
) -> None:
    model, state = make_images(), make_images(16).state_dict()
    with expect_unchanged(model), pytest.raises(error, match=text):
        act(model, state)
