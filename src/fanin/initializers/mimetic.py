"""Mimetic: attention that starts like a trained one's, with products near the identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

from fanin.fans import WeightLayout, check_gain
from fanin.initializers import distributions
from fanin.initializers.constant import Zero
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.mimetic_factor import MimeticFactor, Side, count_rows, read_side
from fanin.initializers.model_level import (
    Assignment,
    ModelInitializer,
    ModelParameter,
    ModelPlan,
    ModelView,
    Requirement,
)
from fanin.initializers.truncated_normal import TruncatedNormal
from fanin.structure import AttentionLayers


@final
@dataclass(frozen=True)
class Mimetic(ModelInitializer):
    """Attention whose products of weights are near the identity, as in trained transformers.

    Per head Wq·Wkᵀ ≈ alpha_qk·Z + beta_qk·I and over all heads Wv·Wo ≈ alpha_vo·Z - beta_vo·I, with
    Z ~ N(0, 1/width), each factorized by its singular values: a head keeps the largest ones. Biases
    of the attention are 0. All other matrices get a truncated normal, embeddings their own rule.

    Args:
        alpha_qk: the random share of query · key.
        beta_qk: the identity's share of query · key.
        alpha_vo: the random share of value · output.
        beta_vo: the identity's share of value · output.
        signs: vision, as above; language: both identities with the other sign, as trained language
            models have them.
        std: of all other matrices, before they are truncated at two standard deviations.
    """

    name: ClassVar[str] = "mimetic"
    structured: ClassVar[bool] = True
    alpha_qk: float = 0.7
    beta_qk: float = 0.7
    alpha_vo: float = 0.4
    beta_vo: float = 0.4
    signs: Literal["vision", "language"] = "vision"
    std: float = 0.02

    def check(self) -> None:
        """Nothing may be negative."""
        for option in ("alpha_qk", "beta_qk", "alpha_vo", "beta_vo"):
            check_gain(getattr(self, option), f"mimetic({option}=…)")
        distributions.check_std(self.std, "mimetic(std=…)")

    def plan(self, view: ModelView) -> ModelPlan:
        """The factors of every attention, and a choice for the other weights."""
        assert view.structure is not None
        chosen = dict(self._choose_others(view))
        lacking: list[Requirement] = []
        attentions = tuple(_list_given(view))
        for attention in attentions:
            held = _find_sides(attention, view)
            problem = _find_problem(attention, held)
            if problem:
                lacking.append(_lack(problem, attention))
            else:
                chosen |= self._assign(attention, held)
        if not attentions:
            lacking.append(_lack(_NO_ATTENTION))
        return ModelPlan(chosen, tuple(dict.fromkeys(lacking)))

    def _choose_others(self, view: ModelView) -> Iterator[tuple[str, Assignment]]:
        for site in view.sites:
            if site.role in ("weight", "recurrent weight"):
                rule = TruncatedNormal(std=self.std)
                yield site.name, Assignment(rule, "mimetic: not one of an attention's weights")
            elif site.role in ("bias", "recurrent bias"):
                yield site.name, Assignment(Zero(), f"mimetic: {site.role}")

    def _assign(
        self, attention: AttentionLayers, held: Mapping[str, _Held]
    ) -> dict[str, Assignment]:
        assert attention.head_dim is not None
        sign = 1.0 if self.signs == "vision" else -1.0
        rows = next(one.sizes["q"][0] for one in held.values() if "q" in one.sizes)
        factor = MimeticFactor(
            heads=rows // attention.head_dim,
            alpha_qk=self.alpha_qk,
            beta_qk=sign * self.beta_qk,
            alpha_vo=self.alpha_vo,
            beta_vo=-sign * self.beta_vo,
        )
        end = attention.output[0]
        return {
            name: Assignment(
                factor if one.site.layout.parts else replace(factor, side=next(iter(one.sizes))),
                f"mimetic: {', '.join(one.sizes)} of the attention that ends in {end}",
                stream=f"{end}: mimetic",
            )
            for name, one in held.items()
        }


_NO_ATTENTION = (
    "No attention was found among the layers that it gets. Give batch=, a batch as in training, so "
    "that a forward pass is observed, or name the layers by roles={'*.query': 'query', …}."
)
_UNKNOWN_ROWS = (
    "Which rows of {0} are queries, keys and values is not known. Give batch=, a batch as in "
    "training, so that a forward pass is observed, or split={{'{0}': {{'q': …, 'k': …, 'v': …}}}}."
)


@dataclass(frozen=True)
class _Held:
    """A parameter of an attention: what it holds of the products, and (rank, width) of each."""

    site: ModelParameter
    sizes: Mapping[Side, tuple[int, int]]


def _list_given(view: ModelView) -> Iterator[AttentionLayers]:
    """The attentions with a layer that the method is to fill."""
    assert view.structure is not None
    for one in view.structure.attentions:
        if view.find_given((*one.query, *one.key, *one.value, *one.output)):
            yield one


def _find_sides(attention: AttentionLayers, view: ModelView) -> dict[str, _Held]:
    """The weights of one attention, by name. A weight that several sides are read from without
    that its parts are known has no sizes.
    """
    found: dict[str, _Held] = {}
    members: dict[Side, tuple[str, ...]] = {
        "q": attention.query,
        "k": attention.key,
        "v": attention.value,
        "output": attention.output,
    }
    for site in view.sites:
        sides = [side for side, layers in members.items() if site.layer in layers]
        if site.role == "weight" and sides:
            found[site.name] = _Held(site, _measure_sides(site.layout, sides))
    return found


def _measure_sides(layout: WeightLayout, sides: list[Side]) -> dict[Side, tuple[int, int]]:
    if layout.parts:
        parts = {read_side(part.layout.part): part.layout for part in layout.parts}
        return {side: count_rows(part, side) for side, part in parts.items()}
    if layout.part:
        return {read_side(layout.part): count_rows(layout, read_side(layout.part))}
    return {side: count_rows(layout, side) for side in sides} if len(sides) == 1 else {}


def _find_problem(attention: AttentionLayers, held: Mapping[str, _Held]) -> str:
    """Why the products of an attention cannot be made; empty if they can."""
    unknown = next((name for name, one in held.items() if not one.sizes), "")
    if unknown or attention.head_dim is None:
        return _UNKNOWN_ROWS.format(unknown or next(iter(held), "the attention"))
    sizes = {side: size for one in held.values() for side, size in one.sizes.items()}
    missing = [side for side in ("q", "k", "v", "output") if side not in sizes]
    if missing:
        return f"The attention has no layer of its own for: {', '.join(missing)}."
    ranks = {side: rank for side, (rank, _) in sizes.items()}
    if ranks["k"] != ranks["q"] or ranks["v"] != ranks["output"]:
        return (
            f"It has {ranks['q']} outputs of queries, {ranks['k']} of keys and {ranks['v']} of "
            "values: heads that share keys or values cannot have products of their own. Use as "
            "many heads of keys and values as of queries, or another initializer there."
        )
    widths = {width for _, width in sizes.values()}
    if len(widths) > 1:
        return f"Queries, keys, values and output have different widths: {sorted(widths)}."
    if max(ranks["v"], attention.head_dim) > min(widths):
        return (
            f"Its {ranks['v']} outputs of values, and {attention.head_dim} of a head, must not be "
            f"more than the width of the model, {min(widths)}."
        )
    return ""


def _lack(change: str, attention: AttentionLayers | None = None) -> Requirement:
    where = () if attention is None else (attention.output or attention.query)
    return Requirement(what="products of attention weights", change=change, met=False, where=where)


REGISTRY.add(
    InitializerEntry(
        component=Mimetic,
        level="model",
        needs=("structure",),
        summary=(
            "Attention whose query-key and value-output products are near the identity, as in "
            "trained transformers."
        ),
        formula=(
            "Wq·Wkᵀ ≈ alpha_qk·Z + beta_qk·I per head, Wv·Wo ≈ alpha_vo·Z - beta_vo·I, Z ~ N(0, "
            "1/width); A = U·Σ·Vᵀ gives the factors U·√Σ and V·√Σ; other matrices N(0, std²) given "
            "|w| ≤ 2·std"
        ),
        paper=Paper(
            authors="Trockman, Kolter",
            title="Mimetic initialization of self-attention layers",
            year=2023,
            link="https://arxiv.org/abs/2305.09828",
        ),
        suited=(
            "Vision transformers on small data sets such as CIFAR-10, with sinusoidal or small "
            "position embeddings; language models with signs=language."
        ),
        avoid=(
            "Attention whose heads share keys or values (refused). Large-scale pre-training, where "
            "the products come by themselves."
        ),
        cost=(
            "One forward pass; per attention a singular value decomposition of a width × width "
            "matrix for every head, twice if queries and keys are separate layers."
        ),
        differs=(
            "torch, Keras and JAX have no equivalent, and the authors published no code. Third "
            "parties' programs draw Z from a uniform distribution of the same variance, and some "
            "forget to transpose the factor of the values."
        ),
        examples=(
            "mimetic(signs=language)",
            "mimetic(alpha_qk=0.5, beta_qk=0.9)",
            "mimetic(alpha_vo=0.2, beta_vo=0.6, std=0.01)",
        ),
    )
)
