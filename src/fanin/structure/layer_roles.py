"""The roles of all layers, and a user's corrections of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import cast

from fanin.errors import UsageError, quote
from fanin.structure.structure_records import (
    ROLES,
    AttentionLayers,
    ExpertMixture,
    GatedUnit,
    LayerRole,
    ResidualBranch,
    ResidualStream,
    Role,
)

NONE = "none"


class RoleTable:
    """Collects what is known of each layer."""

    def __init__(self, layers: Iterable[str], reached: Container[str]) -> None:
        self._reached = reached
        self._roles: dict[str, list[Role]] = {layer: [] for layer in layers}
        self._reasons: dict[str, str] = {}
        self._expert: set[str] = set()
        self._reads: set[str] = set()
        self._writes: set[str] = set()

    def add(self, role: Role, layers: Iterable[str]) -> None:
        """Give some layers a role beside what they have."""
        for layer in layers:
            if role not in self._roles.setdefault(layer, []):
                self._roles[layer].append(role)

    def add_ties(self, ties: Iterable[Sequence[str]]) -> None:
        """A layer that was not called has the roles of one that uses its parameter."""
        for names in ties:
            layers = [name.rpartition(".")[0] for name in names]
            known = next((one for one in layers if one in self._reached), None)
            for layer in layers:
                if known is not None and layer in self._roles and layer not in self._reached:
                    self._copy(known, layer, f"shares a parameter with {known}")

    def add_attention(self, attention: AttentionLayers) -> None:
        """The roles of one attention."""
        self.add("query", attention.query)
        self.add("key", attention.key)
        self.add("value", attention.value)
        self.add("attention_output", attention.output)

    def add_gate(self, unit: GatedUnit) -> None:
        """The roles of one gate, with what it gates or without."""
        self.add("gate", unit.gate)
        self.add("up", unit.up)
        self.add("down", unit.down)

    def add_mixture(self, mixture: ExpertMixture) -> None:
        """A router and its experts; what the graph shows of one expert holds for its siblings that
        no sample was sent to.
        """
        self.add("router", [mixture.router])
        for expert in mixture.experts:
            self._expert |= set(expert)
            if self._is_reached(expert):
                self.add_perceptron(expert)
        known = next(filter(self._is_reached, mixture.experts), ())
        for expert in mixture.experts:
            if len(expert) == len(known) and not self._is_reached(expert):
                for layer, sibling in zip(expert, known, strict=True):
                    self._copy(sibling, layer, f"as its sibling {sibling}")

    def _is_reached(self, layers: Iterable[str]) -> bool:
        return all(layer in self._reached for layer in layers)

    def _copy(self, known: str, layer: str, reason: str) -> None:
        self._roles[layer] = list(self._roles[known])
        for marked in (self._reads, self._writes):
            if known in marked:
                marked.add(layer)
        self._reasons[layer] = reason

    def add_streams(self, streams: Iterable[ResidualStream]) -> None:
        """Which layers read from and write to residual streams."""
        for stream in streams:
            for branch in stream.branches:
                self._reads |= set(branch.readers)
                self._writes |= set(branch.writers)

    def add_perceptron(self, layers: Sequence[str]) -> None:
        """Two layers, one after the other, that have no role yet are up and down."""
        if len(layers) == 2 and not any(map(self._roles.get, layers)):
            self.add("up", layers[:1])
            self.add("down", layers[1:])

    def list_unnamed(self, branch: ResidualBranch) -> tuple[str, ...]:
        """The layers of a branch without its routers."""
        return tuple(layer for layer in branch.layers if "router" not in self._roles[layer])

    def build(self, corrections: Mapping[str, str]) -> tuple[LayerRole, ...]:
        """The roles of all layers, corrected."""
        chosen = {layer: tuple(roles) for layer, roles in self._roles.items()}
        for pattern, text in corrections.items():
            for layer in _match(pattern, list(chosen)):
                chosen[layer] = read_roles(text)
                self._reasons[layer] = f"corrected by {pattern!r}"
        return tuple(
            LayerRole(
                layer,
                chosen[layer],
                layer in self._reads,
                layer in self._writes,
                layer in self._expert,
                self._reasons.get(layer, ""),
            )
            for layer in chosen
        )


def read_roles(text: str) -> tuple[Role, ...]:
    """Roles as a correction writes them: ``up``, ``query+key``, ``none``."""
    if text == NONE:
        return ()
    words = text.split("+") if isinstance(text, str) else [text]
    for word in words:
        if word not in ROLES:
            raise UsageError(
                f"{quote(word)} is no role. Expected one of {', '.join(ROLES)}, several joined by "
                f'"+", or "{NONE}".'
            )
    return tuple(cast(Role, word) for word in words)


def _match(pattern: str, layers: Sequence[str]) -> list[str]:
    """The layers that a pattern names; ``*`` stands for any text, ``?`` for one character, and
    every other character for itself.
    """
    regular = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    found = [layer for layer in layers if re.fullmatch(regular, layer)]
    if not found:
        near = difflib.get_close_matches(pattern, layers, 3, 0.3) or list(layers[:3])
        raise UsageError(
            f"No layer matches {quote(pattern)}, a pattern of corrections. Names are such as "
            f"{', '.join(near)}."
        )
    return found
