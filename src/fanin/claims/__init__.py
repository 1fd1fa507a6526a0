"""Claims of the case study as experiments: each with a criterion that was written before its run.

    from fanin import claims
    claims.get("he-faster").supported_if

`fanin run claims` trains what their studies lack and prints the verdicts
(`fanin.claim_runs.run_claims`). `fanin.claims.claim_verdict.judge_claim` decides a claim from
results that are there.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from fanin.errors import UnknownName

if TYPE_CHECKING:
    from fanin.claims.claim import Claim  # imports SciPy, which naming claims must not

NAMES = (
    "zero-symmetry",
    "zero-unstable",
    "random-scale",
    "random-fluctuates",
    "random-batchnorm",
    "xavier-sigmoid-tanh",
    "xavier-deep-relu",
    "he-relu",
    "he-faster",
    "lecun-shallow",
    "orthogonal-deep",
    "orthogonal-slower",
    "cost-order",
    "sparse-niche",
    "uniform-normal",
    "convergence",
    "suboptimal",
    "generalization",
    "no-winner",
    "normalization-effect",
    "optimizer-interaction",
    "lr-interaction",
    "lr-schedule",
)
"""In the case study's order."""


def names() -> tuple[str, ...]:
    """The names of the claims."""
    return NAMES


def get(name: str) -> Claim:
    """A claim by its name; raises `UnknownName`."""
    known = _load_claims()
    if name not in known:
        raise UnknownName.suggest("claim", name, NAMES)
    return known[name]


@cache
def _load_claims() -> dict[str, Claim]:
    from fanin.claims.case_study import (
        cost_claims,
        further_initializers,
        he_claims,
        interaction_claims,
        random_claims,
        training_claims,
        xavier_claims,
        zero_claims,
    )

    modules = (
        zero_claims,
        random_claims,
        xavier_claims,
        he_claims,
        further_initializers,
        cost_claims,
        training_claims,
        interaction_claims,
    )
    found = {claim.name: claim for module in modules for claim in module.CLAIMS}
    return {name: found[name] for name in NAMES}
