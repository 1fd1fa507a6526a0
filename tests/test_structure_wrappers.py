"""The bare names of parameters and modules under wrappers: told by class, never by text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

from fanin import seeds
from fanin.structure import (
    find_wrapped,
    list_bare_names,
    list_bare_paths,
    unwrap_model,
    unwrap_name,
)


class Bare(nn.Module):
    """Its layers have the names that wrappers use, and are none."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self._orig_mod = nn.Linear(4, 4)
        self.base_layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.base_layer(self._orig_mod(self.module(x)))
        return result


@seeds.preserve_torch_state(0)
def bare() -> Bare:
    return Bare()


NAMES = [
    "module.0.weight",
    "module.0.bias",
    "_orig_mod.weight",
    "_orig_mod.bias",
    "base_layer.weight",
    "base_layer.bias",
]


def shard_flat(model: nn.Module, **options: Any) -> nn.Module:
    """The model under FSDP1, whose import takes seconds."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(model, **options)


def checkpoint(model: nn.Module) -> nn.Module:
    """The model under torch's wrapper for checkpointing, whose import takes seconds."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    return checkpoint_wrapper(model)


def compiled(model: nn.Module) -> nn.Module:
    """Wrapped as by every backend; nothing is compiled before it is called."""
    wrapped: nn.Module = torch.compile(model, backend="eager")  # type: ignore[assignment]
    return wrapped


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "none": lambda model: model,
    "compile": compiled,
    "DataParallel": nn.DataParallel,
    "averaged": AveragedModel,
    "checkpoint": checkpoint,
    "compiled twice": lambda model: compiled(nn.DataParallel(compiled(model))),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_model_has_the_names_of_the_bare_one(name: str) -> None:
    model = WRAPPERS[name](bare())
    names = list_bare_names(model)
    assert list(names.values()) == NAMES
    assert list(names) == [key for key, _ in model.named_parameters()]
    assert isinstance(unwrap_model(model), Bare)


@pytest.fixture
def process_group() -> Iterator[None]:
    """A group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.filterwarnings("ignore")
def test_distributed_wrappers_are_seen_through() -> None:
    parallel = nn.parallel.DistributedDataParallel(bare())
    assert list(list_bare_names(parallel).values()) == NAMES
    model = bare()
    model.module = shard_flat(model.module, use_orig_params=True, device_id=torch.device("cpu"))
    sharded = shard_flat(model, use_orig_params=True, device_id=torch.device("cpu"))
    assert list(list_bare_names(sharded)) != NAMES
    assert list(list_bare_names(sharded).values()) == NAMES


def test_a_layer_inside_may_be_wrapped() -> None:
    model = bare()
    model.module[0] = checkpoint(model.module[0])
    assert list(list_bare_names(model).values()) == NAMES
    paths = list_bare_paths(model)
    assert paths["module.0"] == paths["module.0._checkpoint_wrapped_module"] == "module.0"


def test_a_parametrized_weight_is_called_as_the_weight() -> None:
    model = bare()
    with seeds.preserve_torch_state(0):
        parametrizations.orthogonal(model.module[0])
        parametrizations.weight_norm(model.base_layer)
    names = list_bare_names(compiled(model))
    assert names["_orig_mod.module.0.parametrizations.weight.original"] == "module.0.weight"
    assert unwrap_name(model, "base_layer.parametrizations.weight.original0") == (
        "base_layer.parametrizations.weight.original0"
    )


def test_a_tied_parameter_is_listed_under_each_name() -> None:
    model = bare()
    model._orig_mod.weight = model.module[0].weight
    assert list(list_bare_names(nn.DataParallel(model)).values()) == NAMES


def test_a_name_that_the_model_does_not_have_is_kept() -> None:
    assert unwrap_name(nn.DataParallel(bare()), "module.other.weight") == "other.weight"
    assert unwrap_name(bare(), "") == ""


def _make_class(package: str, name: str) -> type[nn.Module]:
    return type(name, (nn.Module,), {"__module__": package})


@seeds.preserve_torch_state(0)
def test_adapters_leave_the_names_of_their_base() -> None:
    """The classes of peft, by their names and packages, as peft builds them."""
    layer = _make_class("peft.tuners.tuners_utils", "BaseTunerLayer")()
    layer.base_layer = nn.Linear(4, 4)
    layer.lora_A = nn.ModuleDict({"default": nn.Linear(4, 2, bias=False)})
    tuner = _make_class("peft.tuners.tuners_utils", "BaseTuner")()
    tuner.model = nn.Sequential(layer)
    model = _make_class("peft.peft_model", "PeftModel")()
    model.base_model = tuner
    assert list_bare_names(model) == {
        "base_model.model.0.base_layer.weight": "0.weight",
        "base_model.model.0.base_layer.bias": "0.bias",
        "base_model.model.0.lora_A.default.weight": "0.lora_A.default.weight",
    }


@seeds.preserve_torch_state(0)
def test_adapters_of_peft_leave_the_names_of_their_base() -> None:
    peft = pytest.importorskip("peft")
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    before = [name for name, _ in model.named_parameters()]
    adapted = peft.get_peft_model(
        copy.deepcopy(model), peft.LoraConfig(target_modules=["0"], modules_to_save=["2"])
    )
    names = list(list_bare_names(adapted).values())
    assert [
        name for name in names if "lora" not in name and "modules_to_save" not in name
    ] == before


@seeds.preserve_torch_state(0)
def test_a_class_of_that_name_elsewhere_is_no_wrapper() -> None:
    own = _make_class("mine", "DataParallel")()
    own.module = nn.Linear(4, 4)
    assert find_wrapped(own) is None
    assert list(list_bare_names(own).values()) == ["module.weight", "module.bias"]
