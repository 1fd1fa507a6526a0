"""What torch, Keras and JAX call the initializers and their options.

A foreign name stands for a spec and keeps the defaults that it has at home:

| foreign name     | home  | spec                          |
|------------------|-------|-------------------------------|
| kaiming_normal_  | torch | he_normal                     |
| trunc_normal_    | torch | truncated_normal, cut at ±2   |
| sparse_          | torch | sparse(std=0.01, sparsity=…)  |
| HeNormal         | Keras | he_normal(truncated=true)     |
| RandomNormal     | Keras | normal(std=0.05)              |

It is translated before anything else happens to a spec. So the initializer, its repr, the record
and the id of a cell hold fanin's own name. A name of fanin keeps fanin's defaults: torch, Keras and
JAX each have a function called "normal" or so, with three different standard deviations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

from fanin import gains, specs
from fanin.errors import SpecError, UnknownName
from fanin.initializers.foreign_names import FOREIGN_NAMES, ForeignName
from fanin.initializers.initializer_entry import REGISTRY

Options = dict[str, Any]

_OPTIONS: dict[str, dict[str, str]] = {
    "normal": {"stddev": "std"},
    "uniform": {"a": "low", "b": "high", "minval": "low", "maxval": "high"},
    "truncated_normal": {"stddev": "std", "a": "low", "b": "high"},
    "constant": {"val": "value"},
    "orthogonal": {"scale": "gain"},
    "delta_orthogonal": {"scale": "gain"},
}
"""Foreign options, and what fanin calls them."""

_VALUES = {
    ("variance_scaling", "distribution", "truncated_normal"): "truncated",
    ("variance_scaling", "distribution", "untruncated_normal"): "normal",
}

_KAIMING = "For torch's nonlinearity write kaiming_{}(nonlinearity=…), or a=… for a leaky ReLU."
_ABSENT: dict[tuple[str, str], str] = {
    ("", "seed"): "A seed goes to the call: fanin.initialize(…, seed=0), or generator=….",
    ("", "generator"): "A generator goes to the call: fanin.get(…)(tensor, generator=…).",
    ("", "dtype"): "Numbers are drawn in float32 and copied into the tensor, whatever its dtype.",
    ("he_normal", "nonlinearity"): _KAIMING.format("normal"),
    ("he_uniform", "nonlinearity"): _KAIMING.format("uniform"),
    ("uniform", "scale"): "JAX' uniform(scale=s) is uniform(low=0, high=s).",
    ("truncated_normal", "lower"): "JAX counts lower and upper in std. Write low=… and high=…, "
    "which are bounds of the weights, or cut=….",
    ("truncated_normal", "upper"): "JAX counts lower and upper in std. Write low=… and high=…, "
    "which are bounds of the weights, or cut=….",
    ("dirac", "groups"): "The groups come from the layer: use fanin.initialize(model, …).",
}
"""Foreign options that fanin has not, and what to do instead."""


class InitializerWords:
    """The foreign words of initializers, for their registry."""

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Each foreign name, with and without a trailing underscore, and the name of its entry."""
        return {name: found.entry for name, found in self._by_name.items()}

    def find(self, name: str) -> ForeignName | None:
        """The foreign name of that spelling, with or without a trailing underscore, if any."""
        return self._by_name.get(name)

    def translate(self, name: str, options: Mapping[str, Any]) -> tuple[str, Options]:
        """A name and options in the words of fanin.

        Raises `UnknownName` for an option that only another framework has; it says what to do
        instead.
        """
        found = self.find(name)
        if found is None:
            return name, _translate_options(name, name, options)
        special = _SPECIAL.get(found.name)
        meant, given = special(options) if special else (found.entry, options)
        defaults = {} if special else specs.parse(found.meant)[1]
        return meant, {**defaults, **_translate_options(name, meant, given)}

    @cached_property
    def _by_name(self) -> dict[str, ForeignName]:
        own = {listed.entry for listed in FOREIGN_NAMES}
        found = {listed.name: listed for listed in FOREIGN_NAMES}
        for listed in FOREIGN_NAMES:
            bare = listed.name.rstrip("_")
            for other in (bare, f"{bare}_"):
                if other not in own:
                    found.setdefault(other, listed)
        return found


def _translate_options(name: str, meant: str, options: Mapping[str, Any]) -> Options:
    """The options in fanin's words; `name` is what the user wrote."""
    words = _OPTIONS.get(meant, {})
    translated: Options = {}
    for key, value in options.items():
        if absent := _ABSENT.get((meant, key)) or _ABSENT.get(("", key)):
            raise UnknownName(f"{name} has no option {key}. {absent}")
        own = words.get(key, key)
        if own in translated:
            raise SpecError(f"{name} gives {own} twice: {key} is another word for it.")
        known = isinstance(value, str) and (meant, own, value)
        translated[own] = _VALUES.get(known, value) if known else value
    return translated


def _translate_kaiming(shape: str, options: Mapping[str, Any]) -> tuple[str, Options]:
    """torch's kaiming functions: the gain is that of `nonlinearity`, which may not be He's."""
    given = dict(options)
    nonlinearity = given.pop("nonlinearity", "leaky_relu")
    if nonlinearity == "leaky_relu":
        return f"he_{shape}", given
    scale = gains.calculate_gain(nonlinearity) ** 2
    given.pop("a", None)  # torch ignores the slope then
    if nonlinearity == "relu":
        return f"he_{shape}", given
    truncated = given.pop("truncated", False)
    distribution = "truncated" if truncated else shape
    return "variance_scaling", {**given, "scale": scale, "distribution": distribution}


def _translate_trunc_normal(options: Mapping[str, Any]) -> tuple[str, Options]:
    """torch's bounds are numbers, whatever the standard deviation: ±2 unless given."""
    if options.keys() <= {"cut"}:
        return "truncated_normal", dict(options)
    given = _translate_options("trunc_normal", "truncated_normal", options)
    if "cut" in given:
        return "truncated_normal", given
    return "truncated_normal", {"low": -2.0, "high": 2.0, **given}


def _translate_ones(options: Mapping[str, Any]) -> tuple[str, Options]:
    """The constant 1, whose value cannot be chosen."""
    if options:
        raise SpecError(
            f"ones takes no options; received {', '.join(options)}. Another value: "
            "constant(value=…)."
        )
    return "constant", {}


def _translate_sparse(options: Mapping[str, Any]) -> tuple[str, Options]:
    """torch's rule needs a sparsity, and has another default of std."""
    if "sparsity" not in options:
        raise SpecError(
            "sparse_ is torch's rule and needs sparsity, such as sparse_(sparsity=0.9). The rule "
            "of the paper is sparse(connections=15)."
        )
    return "sparse", {"std": 0.01, **options}


_SPECIAL: dict[str, Callable[[Mapping[str, Any]], tuple[str, Options]]] = {
    "kaiming_normal_": partial(_translate_kaiming, "normal"),
    "kaiming_uniform_": partial(_translate_kaiming, "uniform"),
    "trunc_normal_": _translate_trunc_normal,
    "sparse_": _translate_sparse,
    "ones_": _translate_ones,
    "Ones": _translate_ones,
}

WORDS = InitializerWords()
REGISTRY.understand(WORDS)
