"""find(model, …): the follower of every layer, by whichever way of reading the model there is."""

from __future__ import annotations

from torch import nn

from fanin.structure.followers import Follower, find_graph_followers
from fanin.structure.observation import Batch, trace_forward
from fanin.structure.tracing import trace_symbolically


def find_followers(model: nn.Module, batch: Batch | None = None) -> dict[str, Follower]:
    """The follower of every weighted layer of a model, by the layer's qualified path, in the
    model's order.

    Args:
        model: any module; it is left as it was.
        batch: what one call of the model takes (see `trace_forward`). Without it the model is traced
            symbolically, which works where no control flow depends on data or shapes.

    A layer that was not reached is there too, with kind "unknown" and the reason.

    Raises what `trace_symbolically` or `trace_forward` raises.
    """
    return find_graph_followers(
        trace_symbolically(model) if batch is None else trace_forward(model, batch)
    )
