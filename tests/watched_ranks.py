"""Two processes that train a model together, sharded by FSDP2, and watch it.

python watched_ranks.py FILE    prints what each process finds, as JSON; a line per process
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from two_processes import run_in_two

import fanin
from fanin.watching.layer_reading import ALL

SIZES = (11, 6, 7, 5)
STEPS, EVERY = 4, 2


def make_model() -> nn.Module:
    """Sizes that two do not divide, and a table of which a batch uses some rows."""
    words, width, hidden, outputs = SIZES
    model = nn.Sequential(
        nn.Embedding(words, width),
        nn.Linear(width, hidden),
        nn.ReLU(),
        nn.LayerNorm(hidden),
        nn.Linear(hidden, outputs),
    )
    fanin.initialize(model, "he_normal", seed=4)
    return model


def shard(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """The model with each layer of its own, and the rest, sharded."""
    for place in (0, 1, 4):
        fully_shard(model[place], mesh=mesh)  # type: ignore[index]
    fully_shard(model, mesh=mesh)
    return model


def train(model: nn.Module, *, watched: bool) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """The readings, and this process' part of the weights in the end. All processes see the same
    batches, so that the mean of their gradients is that of one.
    """
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    watch = fanin.watch(model, every=EVERY)
    if watched:
        watch.__enter__()
    for _ in range(STEPS):
        x = torch.randint(0, 8, (16,), generator=generator)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), x % SIZES[-1])
        loss.backward()
        optimizer.step()
    watch.stop()
    readings = [
        {layer.name: dict(layer.values) for layer in reading.layers}
        for reading in watch.log.readings
    ]
    return readings, [_take_part(one.detach()) for one in model.parameters()]


def _take_part(parameter: Any) -> Tensor:
    local: Tensor = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    return local


def find_differences(mesh: DeviceMesh) -> dict[str, Any]:
    """What the watch of the sharded model says otherwise than that of the whole one."""
    expected, _ = train(make_model(), watched=True)
    found, weights = train(shard(make_model(), mesh), watched=True)
    _, unwatched = train(shard(make_model(), mesh), watched=False)
    different = [
        (step, layer, name)
        for step, (whole, sharded) in enumerate(zip(expected, found, strict=True))
        for layer in whole
        for name in whole[layer]
        if abs(whole[layer][name] - sharded.get(layer, {}).get(name, 1e9))
        > 1e-4 * abs(whole[layer][name]) + 1e-6
    ]
    return {
        "steps": len(found),
        "layers": sorted(found[0]),
        "statistics": sorted(found[0][ALL]),
        "different": different,
        "same weights": all(map(torch.equal, weights, unwatched)),
    }


if __name__ == "__main__":
    run_in_two(find_differences)
