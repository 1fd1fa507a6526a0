"""Rules: which initializer each parameter gets, by pattern over its name or the class of its layer,
or else by its role; from Python or from TOML.

    default = "auto"                      # weights that no pattern matches
    biases = "zero"

    [patterns]                            # of several that match, the last one counts
    "*.attn.*" = "xavier_uniform"
    "head.weight" = "zero"
    "class:Conv2d" = "he_normal"          # by the class of the layer, subclasses included
    "re:.*[.](q|k)[.].*" = "orthogonal"   # a regular expression over the whole name

    [split]                               # parameters that pack several maps, along their outputs
    "*.qkv.*" = { q = 768, k = 256, v = 256 }

A pattern is about one class of parameters: about weights if it matches any, else about embeddings,
else biases, else the scale and shift of normalization, else the rest. So ``"*.attn.*" =
"xavier_uniform"`` leaves the biases there to their own rule, and ``"*.bias"`` does not reach into
normalization layers. Only ``keep`` means everything that its pattern matches.

A method for whole models, such as ``"encoder.*" = "fixup"``, is about that class too, and has the
first word about the rest that its pattern matches: its scales and biases. A pattern of their own,
or a rule for their role, goes before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from fanin.apply.model_parameters import ParameterUse
from fanin.apply.patterns import match_uses, write_patterns
from fanin.apply.told_layouts import Split
from fanin.errors import SpecError, UnknownName, UsageError, quote
from fanin.fans import Layout, Role
from fanin.initializers import Initializer, get
from fanin.initializers.model_level import ModelInitializer
from fanin.toml_text import decode_toml, parse_toml

KEEP = "keep"
_SPECIAL = ("keep", "overwrite")

Rule = str | Initializer

# What a pattern that matches several classes is about: the first of these that occurs.
_CLASSES: tuple[tuple[Role, ...], ...] = (
    ("weight", "recurrent weight"),
    ("embedding",),
    ("bias", "recurrent bias"),
    ("norm scale", "norm offset", "norm shift"),
    ("unknown",),
)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What `fanin.initialize` fills each parameter with; see the module for the form in TOML.

    Each rule is a spec string, an initializer, or "keep".

    >>> rules = Rules(default="he_normal", patterns={"*.head": "normal(std=0.01)"})
    >>> list(rules.patterns)
    ['*.head']
    """

    default: Rule
    """Weights of linear layers, convolutions, attention and recurrent layers."""
    patterns: Mapping[Any, Rule] = field(default_factory=dict)
    """Rules by pattern (`fanin.apply.patterns`): ``"*.attn.*"``, ``nn.Conv2d`` or
    ``"class:Conv2d"``, ``re.compile(…)`` or ``"re:…"``, all kept as text; of several that match,
    the last one counts.
    """
    recurrent: Rule | None = None
    """Hidden-to-hidden weights of RNN, LSTM and GRU; None: the same as other weights."""
    biases: Rule | None = None
    """None: zero, or what a model-level default says."""
    norms: Rule | None = None
    """Scale of normalization layers, whose shift becomes 0; None: 1, or what a model-level default
    says. "keep" keeps both.
    """
    embeddings: Rule | None = None
    """None: normal(std=0.02), or what a model-level default says."""
    layouts: Mapping[Any, Layout] = field(default_factory=dict)
    """Which axes of a parameter are which, by pattern; see `fanin.Layout`."""
    special: Literal["keep", "overwrite"] = "keep"
    """What happens to values that the model set on purpose, if no rule names them."""
    split: Mapping[Any, Split] = field(default_factory=dict)
    """Parts of packed parameters by pattern: sizes by name, a list of sizes, or into how many equal
    parts.
    """

    def __post_init__(self) -> None:
        for what in ("patterns", "layouts", "split"):
            value = getattr(self, what)
            if not isinstance(value, Mapping):
                raise UsageError(
                    f"{what} maps patterns such as '*.attn.*' to rules, not {quote(value)}."
                )
            argument = "rules" if what == "patterns" else what
            object.__setattr__(self, what, write_patterns(value, argument))
        if self.special not in _SPECIAL:
            raise UnknownName.suggest("treatment of special values", self.special, _SPECIAL)
        object.__setattr__(self, "layouts", _parse_layouts(self.layouts))
        resolve_rule(self.default)
        by_role = {
            name: getattr(self, name) for name in ("recurrent", "biases", "norms", "embeddings")
        }
        given = {name: rule for name, rule in by_role.items() if rule is not None}
        for key, rule in (
            *given.items(),
            *((f"pattern {pattern!r}", rule) for pattern, rule in self.patterns.items()),
        ):
            try:
                resolve_rule(rule)
            except (SpecError, UnknownName) as error:
                raise type(error)(f"{key}: {error}") from None

    @classmethod
    def load(cls, path: str | Path) -> Rules:
        """Read rules from a TOML file; errors name the file and the key."""
        path = Path(path)
        try:
            table = parse_toml(decode_toml(path.read_bytes()))
        except OSError as error:
            raise UsageError(
                f"The rules file {path} cannot be read: {error.strerror or error}."
            ) from None
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8 text ({error}).") from None
        except UsageError as error:
            raise UsageError(f"{path} is not TOML: {error}") from None
        known = [entry.name for entry in fields(cls)]
        for key in table:
            if key not in known:
                raise UsageError(
                    f"{path}: {UnknownName.suggest('key of a rules file', key, known)}"
                )
        if "default" not in table:
            raise UsageError(
                f'{path} needs a default, such as default = "auto", for the weights that no '
                "pattern matches."
            )
        try:
            return cls(**table)
        except (UsageError, TypeError) as error:
            raise UsageError(f"{path}: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """The rules as plain texts."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        plain["patterns"] = {pattern: str(rule) for pattern, rule in self.patterns.items()}
        plain["split"] = dict(self.split)
        plain["layouts"] = {pattern: layout.to_json() for pattern, layout in self.layouts.items()}
        return {
            key: value if isinstance(value, Mapping) or value is None else str(value)
            for key, value in plain.items()
        }


def _parse_layouts(layouts: Mapping[str, Any]) -> dict[str, Layout]:
    parsed = {}
    for pattern, value in layouts.items():
        try:
            parsed[pattern] = Layout.parse(value)
        except UsageError as error:
            raise type(error)(f"layouts, pattern {pattern!r}: {error}") from None
    return parsed


def resolve_rule(rule: Rule) -> Initializer | None:
    """The initializer that a rule names; None for "keep"."""
    if not isinstance(rule, str | Initializer):
        raise SpecError(
            f"A rule is a spec such as 'he_normal', an initializer or 'keep', not {quote(rule)}."
        )
    return None if rule == KEEP else get(rule)


@dataclass(frozen=True)
class Match:
    """The pattern that decides about a parameter."""

    pattern: str
    initializer: Initializer | None
    use: ParameterUse
    """The place at which the pattern found it: a tied parameter has several."""
    over: tuple[str, ...]
    """Earlier patterns that match it too."""
    order: int
    """The place of the pattern among all."""


def match_patterns(patterns: Mapping[str, Rule], uses: Sequence[ParameterUse]) -> dict[str, Match]:
    """The deciding pattern of each parameter that one is about, by name. A pattern that matches
    nothing is an error.
    """
    found: dict[str, Match] = {}
    for order, (pattern, rule) in enumerate(patterns.items()):
        initializer = resolve_rule(rule)
        hits = match_uses(uses, pattern, "rules")
        for use in hits if initializer is None else _select_class(hits):
            earlier = found.get(use.name)
            over = (*earlier.over, earlier.pattern) if earlier else ()
            found[use.name] = Match(pattern, initializer, use, over, order)
    return found


def match_methods(patterns: Mapping[str, Rule], uses: Sequence[ParameterUse]) -> dict[str, Match]:
    """The last pattern with a method for whole models that matches each parameter, also one that
    it does not decide about, by name.
    """
    return {
        use.name: Match(pattern, initializer, use, (), order)
        for order, (pattern, rule) in enumerate(patterns.items())
        if isinstance(initializer := resolve_rule(rule), ModelInitializer)
        for use in match_uses(uses, pattern, "rules")
    }


def choose_match(found: Mapping[str, Match], group: Sequence[ParameterUse]) -> Match | None:
    """The match that decides about a parameter: of the patterns that mean any of its names, the
    last one.
    """
    hits = [found[use.name] for use in group if use.name in found]
    if not hits:
        return None
    last = max(hits, key=lambda match: match.order)
    earlier = (
        pattern
        for match in hits
        for pattern in (*match.over, match.pattern)
        if pattern != last.pattern
    )
    return replace(last, over=tuple(dict.fromkeys(earlier)))


def _select_class(hits: Sequence[ParameterUse]) -> list[ParameterUse]:
    for roles in _CLASSES:
        if chosen := [use for use in hits if use.role in roles]:
            return chosen
    return []
