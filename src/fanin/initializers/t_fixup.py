"""T-Fixup: transformers without normalization and without warm-up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.initializers.branch_gains import Distribution, assign_gains
from fanin.initializers.fixed_scale import Normal
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import (
    Assignment,
    ModelInitializer,
    ModelParameter,
    ModelPlan,
    ModelView,
)
from fanin.initializers.residual_stacks import Stack, StackMap, require_no_norms


@final
@dataclass(frozen=True)
class TFixup(ModelInitializer):
    """Xavier's weights; in branches, but for queries and keys, times a factor that shrinks with
    depth; small embeddings.

    | what | scale |
    |---|---|
    | values, outputs, perceptrons of N blocks without attention to an encoder | 0.67·N^-¼ |
    | the same in a decoder of M blocks that attends to an encoder | (9M)^-¼ |
    | token embeddings of width d before N blocks | N(0, 1/d), times (9N)^-¼ |
    | position tables, as far as a batch shows them | N(0, 1/d) |

    The paper treats an encoder and a decoder of equal depth. Here each has its own, and a decoder
    alone, which attends to no encoder, is scaled as an encoder: its branches are the same.

    Requires that nothing in or between branches is normalized. Embeddings are meant to be
    multiplied by √d in the model, as in fairseq; fanin does not check that.

    Args:
        distribution: of the weights, normal, or uniform as in the authors' code.
    """

    name: ClassVar[str] = "t_fixup"
    structured: ClassVar[bool] = True
    distribution: Distribution = "normal"

    def plan(self, view: ModelView) -> ModelPlan:
        """Weights with their gains, embeddings, and the requirement."""
        stacks = StackMap(view, self.name)
        gains = assign_gains(
            stacks, lambda stack, _: compute_factor(stack), "T-Fixup's factor", self.distribution
        )
        norms = require_no_norms(
            stacks,
            "remove the normalizations: x = x + f(x). T-Fixup is for transformers without "
            "LayerNorm; with LayerNorm after the sum use deep_norm or admin",
        )
        embeddings = dict(_assign_embeddings(stacks))
        return ModelPlan({**gains.assignments, **embeddings}, (*norms, *gains.requires))


def compute_factor(stack: Stack) -> float:
    """0.67·N^-¼, or (9M)^-¼ for a decoder beside an encoder."""
    factor, depth = (1.0, 9.0 * stack.blocks) if stack.decodes else (0.67, float(stack.blocks))
    return factor * math.pow(depth, -0.25)


def _assign_embeddings(stacks: StackMap) -> Iterator[tuple[str, Assignment]]:
    for site in stacks.view.sites:
        if site.role != "embedding" or len(site.layout.shape) != 2:
            continue
        width = site.layout.shape[1]
        std = 1 / math.sqrt(width) if width else 0.0
        if site.layer in stacks.view.position_tables:
            yield site.name, Assignment(Normal(std=std), f"table of positions: 1/√{width}")
            continue
        blocks = _find_depth(stacks, site)
        reason = f"tokens before {blocks} blocks: (9·{blocks})^-¼ / √{width}"
        yield site.name, Assignment(Normal(std=std * (9 * blocks) ** -0.25), reason)


def _find_depth(stacks: StackMap, site: ModelParameter) -> int:
    """The blocks of the stack that an embedding begins; of a shared one the first's, as in the
    authors' code; of one whose stack is not known, those of the deepest.
    """
    names = {site.layer, site.bare_name, *site.tied_layers}
    own = [stack.blocks for stack in stacks.stacks if names & set(stack.stream.sources)]
    return own[0] if own else max(stack.blocks for stack in stacks.stacks)


REGISTRY.add(
    InitializerEntry(
        component=TFixup,
        level="model",
        needs=("structure",),
        summary=(
            "Transformers without LayerNorm and without warm-up: branches and embeddings that "
            "shrink with the fourth root of depth."
        ),
        formula=(
            "v, output, up, down: Xavier times 0.67·N^-¼ (encoder), (9M)^-¼ (decoder); embeddings "
            "N(0, 1/d) times (9N)^-¼"
        ),
        paper=Paper(
            authors="Huang, Pérez, Ba, Volkovs",
            title="Improving transformer optimization through better initialization",
            year=2020,
            link="https://proceedings.mlr.press/v119/huang20f.html",
        ),
        suited="Encoder-decoder transformers without LayerNorm, trained by Adam without warm-up.",
        avoid=(
            "Models with normalization, where these factors are undone or too small: use deep_norm "
            "or admin. Training by SGD: the bound is derived for Adam's updates."
        ),
        cost="A trace of the model or one forward pass, then one draw per weight.",
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' code, for fairseq, draws q and "
            "k with the gain 1/√2 and undoes that for v; here Xavier's gains are all 1, as in the "
            "paper. An embedding that encoder, decoder and head share is scaled by the encoder's "
            "depth in both."
        ),
        examples=("t_fixup", "t_fixup(distribution=uniform)"),
    )
)
