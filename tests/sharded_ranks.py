"""Two processes that hold models together: each initializes its shards and compares them, put
together, with the whole.

python sharded_ranks.py FILE    prints what differs, by case and rule, as JSON; a line per process
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor
from two_processes import run_in_two

from fanin import seeds
from fanin.apply import Record, initialize, verify
from fanin.errors import FitError
from fanin.structure import unwrap_name

RULES = ("he_normal", "orthogonal", "torch_default", "auto")
VERIFIED = ("he_normal", "orthogonal")
RUNS = hasattr(torch.cpu.current_stream(), "record_event")
"""Whether this torch runs FSDP2's forward pass on the CPU; 2.6 shards and gathers, but cannot."""


class Model(nn.Module):
    """Sizes that two do not divide, packs, a tie, and a table with padding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6, padding_idx=7)
        self.linear = nn.Linear(6, 7)
        self.conv = nn.Conv1d(6, 10, 3, groups=2)
        self.lstm = nn.LSTM(6, 5, bidirectional=True)
        self.attention = nn.MultiheadAttention(6, 2)
        self.norm = nn.LayerNorm(7)
        self.scale = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.linear(x)
        return output


def distribute(
    model: nn.Module, mesh: DeviceMesh, placement: Callable[[Tensor], Placement]
) -> nn.Module:
    """The model with every parameter sharded; ties stay ties."""
    new: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in new:
                new[parameter] = nn.Parameter(
                    distribute_tensor(parameter.detach(), mesh, [placement(parameter)])
                )
            setattr(module, name, new[parameter])
    return model


def last(parameter: Tensor) -> Placement:
    return Shard(parameter.dim() - 1)


def shard_fully(*modules: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """The last module, after FSDP has sharded each in turn."""
    for module in modules:
        fully_shard(module, mesh=mesh)
    return module


CASES: dict[str, Callable[[Model, DeviceMesh], nn.Module]] = {
    "first dimension": lambda model, mesh: distribute(model, mesh, lambda parameter: Shard(0)),
    "last dimension": lambda model, mesh: distribute(model, mesh, last),
    "replicated": lambda model, mesh: distribute(model, mesh, lambda parameter: Replicate()),
    "fsdp": lambda model, mesh: shard_fully(model, mesh=mesh),
    "fsdp, nested": lambda model, mesh: shard_fully(model.lstm, model.attention, model, mesh=mesh),
    "fsdp from meta": lambda model, mesh: shard_fully(model, mesh=mesh),
}


FLAT: dict[str, Callable[[Model], nn.Module]] = {
    "flat": lambda model: shard_flat(model, use_orig_params=True),
    "flat, as one": lambda model: shard_flat(model, use_orig_params=False),
    "flat, nested": lambda model: nest_flat(model),
}


def shard_flat(model: nn.Module, *, use_orig_params: bool) -> nn.Module:
    """The model under FSDP1, whose processes keep flat pieces."""
    wrapped: nn.Module = FullyShardedDataParallel(
        model, device_id=torch.device("cpu"), use_orig_params=use_orig_params
    )
    return wrapped


def nest_flat(model: Model) -> nn.Module:
    """FSDP1 of layers, inside a model that is itself no wrapper."""
    model.linear = shard_flat(model.linear, use_orig_params=True)  # type: ignore[assignment]
    model.attention = shard_flat(  # type: ignore[assignment]
        model.attention, use_orig_params=False
    )
    return model


def flat_differences(case: str, rule: str) -> list[str]:
    """The parameters under FSDP1 that are not those of the bare model."""
    expected = Model()
    reference = initialize(expected, {"scale": "normal"}, default=rule, seed=9)
    model = FLAT[case](Model())
    record = initialize(model, {"*scale": "normal"}, default=rule, seed=9)
    found = [] if sum(one.numel() for one in model.parameters()) else ["nothing is left"]
    with FullyShardedDataParallel.summon_full_params(model):
        found += [
            name
            for name, parameter in model.named_parameters(remove_duplicate=False)
            if not torch.equal(parameter, expected.get_parameter(unwrap_name(model, name)))
        ]
    found += verification_mistakes(model, reference) if rule in VERIFIED else []
    told = [
        [(each.rule, each.stream, each.measured_std) for each in one] for one in (record, reference)
    ]
    found += [] if told[0] == told[1] else ["record"]
    x = torch.ones(2, 6)
    if not torch.allclose(model(x), expected(x), atol=1e-6):
        found += ["forward pass"]
    return found


def verification_mistakes(model: nn.Module, reference: Record) -> list[str]:
    """What is wrong with a verification of shards by the record of the model without them."""
    saved = Record.from_json(json.loads(json.dumps(reference.to_json())))
    found = verify(model, saved)
    numbers = all(check.by == "numbers" for check in found)
    return [] if found.passed and numbers else [f"verification: {found}"]


def drawn_locally(mesh: DeviceMesh) -> str:
    """What a verification says of shards that each process drew from the same seed."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 6))
    record = initialize(model, "he_normal", seed=9)
    sharded = distribute(model, mesh, lambda parameter: Shard(0))
    with torch.no_grad():
        local = sharded[0].weight.to_local()  # type: ignore[index]
        local.copy_(seeds.standard_normal(tuple(local.shape), seeds.make_generator(0, "shard")))
    (check,) = verify(sharded, record).failed
    return f"{check.name}: {check.why}"


def whole(parameter: Tensor) -> Tensor:
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def _describe(record: Record) -> str:
    """The record without what a shard cannot know; ``fully_shard`` renames classes."""
    unmeasured = replace(record, parameters=tuple(replace(one, before=None) for one in record))
    return json.dumps(unmeasured.to_json()).replace("FSDP", "")


def differences(case: str, rule: str, mesh: DeviceMesh) -> list[str]:
    """The parameters, and facts of the record, that are not those of the same model unsharded."""
    expected = Model()
    reference = initialize(expected, {"scale": "normal"}, default=rule, seed=9)
    meta = case.endswith("meta")
    with torch.device("meta" if meta else "cpu"):
        unsharded = Model()
    model = CASES[case](unsharded, mesh)
    record: Record = initialize(
        model, {"scale": "normal"}, default=rule, seed=9, device="cpu" if meta else None
    )
    found = [
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if not torch.equal(whole(parameter.detach()), expected.get_parameter(name))
    ]
    found += verification_mistakes(model, reference) if rule in VERIFIED else []
    sharded = sum(isinstance(parameter, DTensor) for parameter in model.parameters())
    found += [] if sharded == len(list(model.parameters())) else ["not all are sharded"]
    told = [_describe(one) for one in (record, reference)]
    found += [] if told[0] == told[1] else ["record"]
    x = torch.ones(2, 6)
    if "fsdp" in case and RUNS and not torch.allclose(model(x), expected(x), atol=1e-6):
        found += ["forward pass"]
    return found


def refused(mesh: DeviceMesh) -> bool:
    """Whether a sharded model that is to be observed on a batch is refused."""
    try:
        initialize(shard_fully(Model(), mesh=mesh), "auto", seed=0, batch=torch.ones(2, 6))
    except FitError as error:
        return "fully_shard" in str(error)
    return False


def compare(mesh: DeviceMesh) -> dict[str, Any]:
    """What one of the processes finds."""
    found = {case: {rule: differences(case, rule, mesh) for rule in RULES} for case in CASES}
    flat = {case: {rule: flat_differences(case, rule) for rule in RULES} for case in FLAT}
    return {"refused": refused(mesh), "local": drawn_locally(mesh), **found, **flat}


if __name__ == "__main__":
    run_in_two(compare)
