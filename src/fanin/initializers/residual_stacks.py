"""Residual streams as stacks of blocks, and the weights of their branches: what the methods that
scale with depth ask of a model's structure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fanin.errors import FitError
from fanin.initializers.model_level import ModelParameter, ModelView, Requirement
from fanin.structure import ModelStructure, ResidualBranch, ResidualStream


@dataclass(frozen=True)
class Stack:
    """One residual stream: a stack of blocks."""

    stream: ResidualStream
    blocks: int
    """N, the number of blocks: a transformer's has two or three branches, a ResNet's one."""

    @property
    def branches(self) -> tuple[ResidualBranch, ...]:
        """The branches, in the order of their computation."""
        return self.stream.branches

    @cached_property
    def steps(self) -> Mapping[int, tuple[ResidualBranch, ...]]:
        """The branches that start from the same point of the stream, by step."""
        found: dict[int, list[ResidualBranch]] = {}
        for branch in self.branches:
            found.setdefault(branch.step, []).append(branch)
        return {step: tuple(branches) for step, branches in found.items()}

    @cached_property
    def decodes(self) -> bool:
        """Whether some branch attends to another stack, as a decoder does to its encoder."""
        return any(branch.crosses for branch in self.branches)


@dataclass(frozen=True)
class StackDepths:
    """The depths of a model that is one stack, or an encoder and a decoder."""

    encoder: int | None
    """N, the blocks of the stack that another one attends to; None if there is none such."""
    decoder: int | None

    @property
    def both(self) -> tuple[int, int] | None:
        """The blocks of encoder and decoder, if there are both."""
        if self.encoder is None or self.decoder is None:
            return None
        return self.encoder, self.decoder


class StackMap:
    """The stacks of a model, and where its parameters lie in them."""

    def __init__(self, view: ModelView, method: str) -> None:
        if view.structure is None:
            raise AssertionError(f"{method} must be structured")
        self.view = view
        self.structure: ModelStructure = view.structure
        if not self.structure.streams:
            raise FitError(
                f"{method} scales residual branches, and fanin found none in "
                f"{self.structure.model}. {self._advise()}"
            )

    def _advise(self) -> str:
        if self.structure.observed:
            return (
                "A residual sum adds what layers computed from a signal to that signal: "
                "x = x + f(x). print(fanin.structure.describe_structure(model, batch)) shows what "
                "was seen."
            )
        return "It was traced without data; batch=… shows it in a forward pass."

    @cached_property
    def stacks(self) -> tuple[Stack, ...]:
        """All of them, nested ones included."""
        blocks: dict[int, int] = {}
        for site in self.view.sites:
            if site.place is not None and site.place.stream is not None:
                blocks[site.place.stream] = max(site.place.blocks, blocks.get(site.place.stream, 0))
        return tuple(
            Stack(stream, blocks.get(stream.index, 0) or stream.depth)
            for stream in self.structure.streams
        )

    @cached_property
    def depths(self) -> StackDepths:
        """The blocks of the deepest encoder and decoder."""
        decoders = [stack.blocks for stack in self.stacks if stack.decodes]
        others = [stack.blocks for stack in self.stacks if not stack.decodes]
        paired = bool(decoders and others)
        return StackDepths(max(others) if paired else None, max(decoders) if paired else None)

    @property
    def branches(self) -> Iterator[tuple[Stack, ResidualBranch]]:
        """Every branch of every stack."""
        return ((stack, branch) for stack in self.stacks for branch in stack.branches)

    @cached_property
    def given_branches(self) -> tuple[tuple[Stack, ResidualBranch], ...]:
        """The branches that requirements are about: those with a parameter that the method is to
        fill. A branch without parameters is one if another of its stack is.
        """
        return tuple(
            (stack, branch)
            for stack, branch in self.branches
            if self._is_given(branch)
            or (not _list_names(branch) and any(map(self._is_given, stack.branches)))
        )

    def _is_given(self, branch: ResidualBranch) -> bool:
        return bool(self.view.find_given(_list_names(branch)))

    @cached_property
    def _by_layer(self) -> Mapping[str, tuple[Stack, ResidualBranch]]:
        """The branch of each layer, of nested ones the innermost. The keys and values of attention
        to an encoder belong to the branch that attends.
        """
        found: dict[str, tuple[Stack, ResidualBranch]] = {}
        for stack, branch in sorted(self.branches, key=lambda pair: -len(pair[1].layers)):
            for layer in branch.layers:
                found[layer] = stack, branch
        for attention in self.structure.attentions:
            around = next(
                (found[one] for one in (*attention.output, *attention.query) if one in found), None
            )
            for layer in (*attention.key, *attention.value):
                if around is not None:
                    found.setdefault(layer, around)
        return found

    def find_branch(self, site: ModelParameter) -> tuple[Stack, ResidualBranch] | None:
        """The stack and the branch that a parameter lies in; None outside branches."""
        for name in (site.bare_name, site.layer):
            if name in self._by_layer:
                return self._by_layer[name]
        return None

    def find_site(self, parameter: str) -> ModelParameter | None:
        """A parameter by its bare name."""
        return self._sites.get(parameter)

    @cached_property
    def _sites(self) -> Mapping[str, ModelParameter]:
        return {site.bare_name: site for site in self.view.sites}

    def is_learnable(self, parameters: Sequence[str]) -> bool:
        """Whether any of some parameters, by their bare names, is trained."""
        sites = filter(None, map(self.find_site, parameters))
        return any(getattr(site.module, site.local).requires_grad for site in sites)

    def is_scalar(self, parameter: str) -> bool:
        """Whether a parameter, by its bare name, is one number."""
        site = self.find_site(parameter)
        return site is not None and all(size == 1 for size in site.layout.shape)


def is_weight(site: ModelParameter) -> bool:
    """Whether a parameter is a matrix or a kernel."""
    return site.role in ("weight", "recurrent weight")


def is_head(site: ModelParameter) -> bool:
    """Whether a parameter belongs to the last layer before the output, and to nothing else."""
    return site.place is not None and site.place.roles == ("head",)


def _list_names(branch: ResidualBranch) -> tuple[str, ...]:
    """The layers and the parameters of a branch, and of its place in the stream."""
    norms = branch.norm_layers
    return (
        *branch.layers,
        *branch.projection,
        *branch.scales,
        *branch.shifts,
        *branch.shortcut_scales,
        *(name for names in (norms.pre, norms.inner, norms.end, norms.post) for name in names),
    )


def name_branch(branch: ResidualBranch) -> str:
    """What a branch is called: its last layers."""
    return " + ".join(branch.writers) or " + ".join(branch.layers) or f"branch {branch.index}"


def require_no_norms(stacks: StackMap, change: str) -> tuple[Requirement, ...]:
    """That no branch that the method gets, and no stream between them, is normalized; nothing if
    it gets none.
    """
    branches = [branch for _, branch in stacks.given_branches]
    if not branches:
        return ()
    found = [(branch, branch.norm_layers) for branch in branches if branch.norms] + [
        (branch, branch.norm_layers)
        for branch in branches
        if not branch.norms and branch.norm_layers.inner
    ]
    names = [
        name
        for branch, norms in found
        for name in (*norms.pre, *norms.inner, *norms.end, *norms.post) or (name_branch(branch),)
    ]
    return (Requirement("no normalization", change, not found, tuple(dict.fromkeys(names))),)


def require_of_branches(
    stacks: StackMap,
    what: str,
    lacks: Callable[[Stack, ResidualBranch], bool],
    explain: Callable[[Sequence[ResidualBranch]], str],
) -> tuple[Requirement, ...]:
    """A requirement of every branch that the method gets; where it is not met, the branches that
    lack it. Nothing if the method gets none.
    """
    everything = [branch for _, branch in stacks.given_branches]
    if not everything:
        return ()
    lacking = [branch for stack, branch in stacks.given_branches if lacks(stack, branch)]
    shown = lacking or everything
    return (Requirement(what, explain(shown), not lacking, tuple(map(name_branch, shown))),)
