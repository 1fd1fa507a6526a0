"""The same weights under every wrapper, to the bit: streams are those of the bare model, and what
follows a layer is found in the bare model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from apply_cases import built, state, unchanged
from torch import Tensor, distributed, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

from fanin.apply import Record, initialize
from fanin.structure import unwrap_name

RULES = ("he_normal", "orthogonal", "auto", "torch_default", "keras_default", "irnn")


class Network(nn.Module):
    """Layers on two levels, packed parts, a reparametrized weight, a tie, a table with padding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8, padding_idx=3)
        self.body = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8), nn.Tanh())
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.normed = parametrizations.weight_norm(nn.Linear(8, 8))
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.body(self.table(tokens))
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x, _ = self.lstm(x)
        result: Tensor = self.head(torch.relu(self.normed(x)))
        return result


def network() -> nn.Module:
    return built(Network)


def shard_flat(model: nn.Module, **options: Any) -> nn.Module:
    """The model under FSDP1, whose import takes seconds."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(model, **options)


def checkpoint(model: nn.Module) -> nn.Module:
    """The model under torch's wrapper for checkpointing, whose import takes seconds."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    return checkpoint_wrapper(model)


def compile_model(model: nn.Module) -> nn.Module:
    """Nothing is compiled before the model is called, which `initialize` does not do."""
    wrapped: nn.Module = torch.compile(model)  # type: ignore[assignment]
    return wrapped


def compile_layers(model: nn.Module) -> nn.Module:
    model.body = compile_model(model.body)
    model.lstm = checkpoint(model.lstm)
    return model


def compile_in_place(model: nn.Module) -> nn.Module:
    model.body.compile()  # type: ignore[operator, union-attr]
    model.compile()
    return model


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compile": compile_model,
    "layers": compile_layers,
    "in place": compile_in_place,
    "DataParallel": nn.DataParallel,
    "averaged": AveragedModel,
    "two": lambda model: nn.DataParallel(compile_model(compile_layers(model))),
    "DDP": nn.parallel.DistributedDataParallel,
    "FSDP1": lambda model: shard_flat(model, device_id=torch.device("cpu"), use_orig_params=True),
    "FSDP1, flat": lambda model: shard_flat(model, device_id=torch.device("cpu")),
}


@pytest.fixture(scope="module")
def process_group() -> Iterator[None]:
    """A group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def bare_state(model: nn.Module) -> dict[str, Tensor]:
    return {
        unwrap_name(model, name): value
        for name, value in state(model).items()
        if name != "n_averaged"
    }


def describe(record: Record, model: nn.Module) -> list[tuple[object, ...]]:
    """What the record says, with bare names."""
    return [
        (
            unwrap_name(model, one.name),
            one.rule,
            one.reason.replace("_fsdp_wrapped_module.", "")
            .replace("_orig_mod.", "")
            .replace("_checkpoint_wrapped_module.", "")
            .replace("module.", ""),
            one.gain,
            one.stream,
            one.measured_std,
            [(part.rule, part.stream, part.measured_std) for part in one.parts],
        )
        for one in record
    ]


@pytest.mark.usefixtures("process_group")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_model_gets_the_weights_and_the_record_of_the_bare_one(name: str) -> None:
    for rule in RULES:
        bare, model = network(), WRAPPERS[name](network())
        expected, record = (initialize(one, rule, seed=7) for one in (bare, model))
        assert unchanged(bare, bare_state(model)), rule
        assert describe(record, model) == describe(expected, bare), rule


@pytest.mark.usefixtures("process_group")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_model_is_observed_on_a_batch_as_the_bare_one(name: str) -> None:
    batch = torch.zeros(2, 5, dtype=torch.int64)
    bare, model = network(), WRAPPERS[name](network())
    tree = list(model.named_modules())
    expected, record = (initialize(one, "auto", seed=7, batch=batch) for one in (bare, model))
    assert unchanged(bare, bare_state(model))
    assert describe(record, model) == describe(expected, bare)
    assert list(model.named_modules()) == tree


def test_the_record_has_the_names_of_the_model_that_was_given() -> None:
    model = compile_model(network())
    record = initialize(model, "he_normal", seed=0)
    assert {one.name for one in record} >= {
        name for name, _ in model.named_parameters() if "parametrizations" not in name
    }
    assert record["_orig_mod.body.0.weight"].changed


@pytest.mark.parametrize("pattern", ["body.*", "re:body[.].*", "_orig_mod.body.*", "*.body.*"])
def test_patterns_mean_the_names_of_the_bare_model_or_those_of_the_wrapped_one(
    pattern: str,
) -> None:
    bare, model = network(), compile_model(network())
    initialize(bare, {"body.*": "orthogonal"}, default="he_normal", seed=0)
    initialize(model, {pattern: "orthogonal"}, default="he_normal", seed=0)
    assert unchanged(bare, bare_state(model))


def test_wrappers_are_back_also_after_a_trace_that_failed() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = compile_model(nn.Linear(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.layer(x) if x.sum() > 0 else x
            return result

    model = compile_model(built(Branching))
    tree, before = list(model.named_modules()), state(model)
    with pytest.raises(Exception, match="batch="):
        initialize(model, "auto", seed=0)
    assert list(model.named_modules()) == tree
    assert unchanged(model, before)


def test_a_wrapper_inside_does_not_change_its_neighbours() -> None:
    one, other = network(), network()
    initialize(one, "he_normal", seed=1)
    initialize(nn.DataParallel(other), "he_normal", seed=1)
    assert torch.equal(one.head.weight, other.head.weight)


# --- peft
# -----------------------------------------------------------------------------


def make_peft_class(name: str, package: str = "peft.tuners.tuners_utils") -> type[nn.Module]:
    """A class that is known as peft's, whether peft is installed or not."""
    return type(name, (nn.Module,), {"__module__": package})


class Adapted(make_peft_class("BaseTunerLayer")):  # type: ignore[misc]
    """LoRA on one layer: the layer, and two small maps beside it."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(layer.in_features, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, layer.out_features, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))
        return result


def adapt(model: nn.Module) -> nn.Module:
    """The model as peft wraps it: ``base_model.model.body.0.base_layer.weight``."""
    model.body[0] = Adapted(model.body[0])  # type: ignore[index, operator]
    tuner = make_peft_class("BaseTuner")()
    tuner.model = model
    wrapped = make_peft_class("PeftModel", "peft.peft_model")()
    wrapped.base_model = tuner
    return wrapped


@pytest.mark.parametrize("rule", RULES)
def test_the_base_of_an_adapted_model_gets_the_weights_of_the_bare_one(rule: str) -> None:
    bare, model = network(), built(lambda: adapt(network()))
    initialize(bare, rule, seed=7)
    record = initialize(model, rule, seed=7)
    found = bare_state(model)
    assert unchanged(bare, {name: value for name, value in found.items() if "lora" not in name})
    name = "base_model.model.body.0.lora_A.default.weight"
    assert record[name].stream != record["base_model.model.body.0.base_layer.weight"].stream


def test_a_copy_of_a_wrapped_model_is_wrapped_the_same() -> None:
    model = nn.DataParallel(network())
    other = copy.deepcopy(model)
    for each in (model, other):
        initialize(each, "he_normal", seed=3)
    assert unchanged(model, state(other))
