"""Rules: which initializer each parameter gets, by pattern over its name or else by its role; from
Python or from TOML.

    default = "auto"                      # weights that no pattern matches
    biases = "zero"

    [patterns]                            # of several that match, the last one counts
    "*.attn.*" = "xavier_uniform"
    "head.weight" = "zero"

    [split]                               # parameters that pack several maps, along their outputs
    "*.qkv.*" = { q = 768, k = 256, v = 256 }

A pattern is about one class of parameters: about weights if it matches any, else about embeddings,
else biases, else the scale and shift of normalization, else the rest. So ``"*.attn.*" =
"xavier_uniform"`` leaves the biases there to their own rule, and ``"*.bias"`` does not reach into
normalization layers. Only ``keep`` means everything that its pattern matches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fanin.apply.model_parameters import ParameterUse, match_names
from fanin.errors import FitError, SpecError, UnknownName, UsageError, quote
from fanin.fans import Role, pack
from fanin.fans.layer_parameters import split_evenly
from fanin.fans.layout import WeightLayout
from fanin.initializers import Initializer, get
from fanin.toml_text import decode_toml, parse_toml

KEEP = "keep"

Rule = str | Initializer
Split = int | Sequence[int] | Mapping[str, int]

# What a pattern that matches several classes is about: the first of these that occurs.
_CLASSES: tuple[tuple[Role, ...], ...] = (
    ("weight", "recurrent weight"),
    ("embedding",),
    ("bias", "recurrent bias"),
    ("norm scale", "norm shift"),
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
    patterns: Mapping[str, Rule] = field(default_factory=dict)
    """Rules by pattern over qualified names, such as ``"*.attn.*"``; of several that match, the
    last one counts.
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
    split: Mapping[str, Split] = field(default_factory=dict)
    """Parts of packed parameters by pattern: sizes by name, a list of sizes, or into how many equal
    parts.
    """

    def __post_init__(self) -> None:
        for what, value in (("patterns", self.patterns), ("split", self.split)):
            if not isinstance(value, Mapping):
                raise UsageError(
                    f"{what} maps patterns such as '*.attn.*' to rules, not {quote(value)}."
                )
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
        return {
            key: value if isinstance(value, Mapping) or value is None else str(value)
            for key, value in plain.items()
        }


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
    names = [use.name for use in uses]
    by_name = {use.name: use for use in uses}
    found: dict[str, Match] = {}
    for order, (pattern, rule) in enumerate(patterns.items()):
        initializer = resolve_rule(rule)
        hits = [by_name[name] for name in match_names(names, pattern, "rules")]
        for use in hits if initializer is None else _select_class(hits):
            earlier = found.get(use.name)
            over = (*earlier.over, earlier.pattern) if earlier else ()
            found[use.name] = Match(pattern, initializer, use, over, order)
    return found


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


def split_layouts(
    split: Mapping[str, Split], uses: Sequence[ParameterUse]
) -> dict[str, WeightLayout]:
    """The layouts of the parameters that are split by hand, by name."""
    names = [use.name for use in uses]
    by_name = {use.name: use for use in uses}
    found: dict[str, WeightLayout] = {}
    for pattern, sizes in split.items():
        for name in match_names(names, pattern, "split"):
            found[name] = _split_layout(by_name[name], sizes)
    return found


def _split_layout(use: ParameterUse, sizes: Split) -> WeightLayout:
    layout = use.layout
    dim = 1 if layout.transposed and len(layout.shape) > 1 else 0
    try:
        if layout.groups != 1 or layout.parts or not layout.shape or use.role == "unknown":
            raise FitError(
                f"a parameter of shape {layout.shape} (role: {use.role}) cannot be split"
                + (", it has parts already" if layout.parts else "")
            )
        return pack(layout, _name_sizes(sizes, layout.shape[dim]), dim)
    except FitError as error:
        raise FitError(f"split of {use.name}: {error}") from None


def _name_sizes(sizes: object, total: int) -> dict[str, int]:
    """Sizes by name; three of them are q, k and v."""
    if isinstance(sizes, int) and not isinstance(sizes, bool) and sizes > 0 and total % sizes == 0:
        return split_evenly(_name_parts(sizes), total)
    listed = dict(sizes) if isinstance(sizes, Mapping) else None
    if listed is None and isinstance(sizes, Sequence) and not isinstance(sizes, str):
        listed = dict(zip(_name_parts(len(sizes)), sizes, strict=True))
    if not listed or not all(
        isinstance(size, int) and not isinstance(size, bool) and size > 0
        for size in listed.values()
    ):
        raise FitError(
            f"expected sizes that add up to {total}, such as {{'q': 768, 'k': 256, 'v': 256}} or "
            "[768, 256, 256], "
            f"or a number of equal parts; received {quote(sizes)}"
        )
    return {str(name): size for name, size in listed.items()}


def _name_parts(count: int) -> tuple[str, ...]:
    return ("q", "k", "v") if count == 3 else tuple(map(str, range(count)))
