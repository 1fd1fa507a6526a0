"""The catalogue: what can be named, and what there is to know about each entry.

names("initializers")
describe("initializers", "he_normal").facts["formula"]
find("models:mlp")
"""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from fanin import specs
from fanin.errors import MissingExtra, UnknownName, UsageError, quote

if TYPE_CHECKING:
    from types import ModuleType

    from fanin.data import DataInfo
    from fanin.initializers import InitializerEntry
    from fanin.registry import Registry
    from fanin.study.study import Study


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of an entry."""

    name: str
    default: str
    """As a spec writes it; empty where the option must be given."""
    takes: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """An entry of the catalogue, in words."""

    kind: str
    name: str
    summary: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """What there is to know, by heading, such as formula and paper."""
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()
    """Lines to copy."""


@dataclass(frozen=True)
class _Kind:
    names: Callable[[], tuple[str, ...]]
    describe: Callable[[str], Description]


def kinds() -> tuple[str, ...]:
    """What the catalogue lists."""
    return tuple(_KINDS)


def singular(kind: str) -> str:
    """What one entry of a kind is called."""
    return _SINGULAR[kind]


def names(kind: str) -> tuple[str, ...]:
    """The names of one kind: "initializers", "models", "datasets" or "studies"; the singular is
    understood too.

    Raises `UnknownName`.
    """
    return _KINDS[_plural(kind)].names()


def describe(kind: str, name: str) -> Description:
    """What there is to know about an entry; raises `UnknownName`."""
    return _KINDS[_plural(kind)].describe(name)


def find(text: str) -> Description:
    """The entry that ``NAME`` or ``KIND:NAME`` means.

    Raises `UnknownName`, or `UsageError` where several kinds have the name; the latter lists the
    qualified names.
    """
    kind, colon, name = text.partition(":")
    if colon:
        return describe(kind, name)
    found = [kind for kind in _KINDS if text in names(kind)]
    if not found:
        raise UnknownName.suggest(
            "entry of the catalogue", text, {name for kind in _KINDS for name in names(kind)}
        )
    if len(found) > 1:
        qualified = " or ".join(f"{kind}:{text}" for kind in found)
        raise UsageError(f"{quote(text)} is the name of {len(found)} things. Write {qualified}.")
    return describe(found[0], text)


def _plural(kind: str) -> str:
    for known in _KINDS:
        if kind in (known, _SINGULAR[known]):
            return known
    raise UnknownName.suggest("kind of the catalogue", kind, _KINDS)


def _describe_initializer(name: str) -> Description:
    from fanin import initializers

    entry = initializers.REGISTRY.get(name)
    return Description(
        kind="initializers",
        name=name,
        summary=entry.summary,
        facts={
            "formula": entry.formula,
            "when to use": entry.suited,
            "when not": entry.avoid,
            "level": {"tensor": "one weight at a time", "model": "the whole model"}[entry.level],
            "needs": _needs(entry),
            "cost": entry.cost,
            "paper": str(entry.paper),
            "differs": entry.differs,
        },
        options=_options(entry.component),
        examples=_uses(entry),
    )


def _needs(entry: InitializerEntry) -> str:
    what = {
        "data": "a batch of data",
        "loss": "a loss",
        "followers": "a model that can be traced, or a batch to observe it on",
    }
    plain = "the shape of the weight" if entry.level == "tensor" else "the model"
    return " and ".join(what[need] for need in entry.needs) or plain


def _uses(entry: InitializerEntry) -> tuple[str, ...]:
    """Lines to copy: on a model, and on one tensor where that is possible."""
    example = entry.examples[0] if entry.examples else entry.name
    if entry.component.gate_bias:
        return (f'fanin.initialize(model, "orthogonal", biases="{example}", seed=0)',)
    on_model = f'fanin.initialize(model, "{example}", seed=0)'
    return (
        (on_model, f'fanin.get("{example}")(tensor, generator=generator)')
        if entry.level == "tensor"
        else (on_model,)
    )


def _describe_model(name: str) -> Description:
    from fanin import models

    entry = models.REGISTRY.get(name)
    task = {"any": "classification and regression"}.get(
        entry.task, models.benchmark_model.describe_task(entry.task)
    )
    task += (
        ", of a sequence or of each of its steps" if entry.input in ("sequence", "tokens") else ""
    )
    options = _options(entry.options)
    example = f"{name}({options[0].name}={options[0].default})" if options else name
    return Description(
        kind="models",
        name=name,
        summary=entry.summary,
        facts={
            "takes": models.benchmark_model.INPUT_DESCRIPTIONS[entry.input],
            "for": task,
            "paper": entry.paper,
        },
        options=options,
        examples=(f'model = ["{example}"]   # in a study file',),
    )


def _describe_dataset(name: str) -> Description:
    from fanin import data

    entry, info, status = data.REGISTRY.find(name), data.describe(name), data.get_status(name)
    options = _options(entry.options)
    example = f"{name}({options[0].name}={options[0].default})" if options else name
    return Description(
        kind="datasets",
        name=name,
        summary=entry.title,
        facts={
            "task": info.task.replace("_", " "),
            "one input": _input_words(info),
            "target": _target_words(info, entry.units),
            "samples": f"{info.n_train:,} for training, {info.n_test:,} for testing",
            "where": f"{status.where} ({'; '.join(filter(None, (status.state, status.note)))})",
            **({"reference": entry.reference} if entry.reference else {}),
        },
        options=options,
        examples=(f'data = ["{example}"]   # in a study file', f"fanin data verify {name}"),
    )


def _input_words(info: DataInfo) -> str:
    shape = "×".join(map(str, info.input_shape))
    words = {"image": "image", "table": "numbers", "sequence": "sequence (steps × features)"}
    return (
        f"{shape} tokens of {info.vocabulary}"
        if info.kind == "tokens"
        else f"{shape} {words[info.kind]}"
    )


def _target_words(info: DataInfo, units: str) -> str:
    match info.task:
        case "classification":
            return f"{info.outputs} classes"
        case "token_classification":
            return f"one of {info.outputs} tokens at every step"
        case "autoencoding":
            return "the input itself"
    return f"a number {units}".strip() if info.outputs == 1 else f"{info.outputs} numbers"


def _describe_study(name: str) -> Description:
    study = _study_part("study.study").Study.load(name)
    plan = study.plan()
    varied: dict[str, dict[str, None]] = {}
    for planned in plan.cells:
        for axis, label in planned.labels.items():
            varied.setdefault(axis, {})[label] = None
    return Description(
        kind="studies",
        name=name,
        summary=plan.question,
        facts=_said(
            {axis: ", ".join(labels) for axis, labels in varied.items()}
            | {
                "fixed": ", ".join(f"{key} = {_plain(value)}" for key, value in study.base.items()),
                "learning rate": _tuning(study),
                "replicates": str(study.replicates),
                "trainings": f"{len(plan.cells):,}",
                "time": study.time,
                "protocol": plan.protocol,
                "notes": "; ".join(plan.notes),
            }
        ),
        examples=(
            f"fanin run {name}",
            f"fanin run {name} --dry-run",
            f"fanin run {name} --replicates 1 --max-epochs 2",
        ),
    )


def _describe_factor(kind: str, name: str) -> Description:
    """An optimizer, a schedule, an augmentation: a registry's entry with a class of options."""
    entry = _factors(kind).get(name)
    options = _options(entry.options)
    text = _first_sentences(entry.options)
    example = (
        f"{name}({options[0].name}={options[0].default})"
        if options and options[0].default
        else name
    )
    written = f'["{example}"]' if kind == "augmentations" else f'"{example}"'
    key = {"augmentations": "augmentation"}.get(kind, singular(kind))
    return Description(
        kind=kind,
        name=name,
        summary=f"{entry.summary[:1].upper()}{entry.summary[1:].rstrip('.')}.",
        facts=_said({"what it does": text}),
        options=options,
        examples=(f"{key} = {written}   # in a study file",),
    )


def _first_sentences(of: type) -> str:
    """The docstring up to the first paragraph that ends with a full stop, so that a formula is not
    cut off, or to a table.
    """
    text = ""
    for paragraph in (of.__doc__ or "").split("\n\n"):
        if "====" in paragraph:
            return f"{text.rstrip(':')}."
        text = f"{text} {' '.join(paragraph.split())}".strip()
        if text.endswith("."):
            break
    return text


def _describe_metric(name: str) -> Description:
    entry = _study_part("training.metrics").REGISTRY.get(name)
    tasks = ", ".join(task.replace("_", " ") for task in entry.tasks) or "any task"
    return Description(
        kind="metrics",
        name=name,
        summary=entry.summary,
        facts={"measures": tasks, "better": {"max": "higher", "min": "lower"}[entry.better]},
        examples=(f'metrics = ["{name}"]   # in a study file',),
    )


def _describe_activation(name: str) -> Description:
    from fanin import gains
    from fanin.models import activations

    critical = gains.critical_gain(name)
    forward = gains.gain(name)
    depth = "any depth" if critical.depth is None else f"{critical.depth} layers"
    return Description(
        kind="activations",
        name=name,
        summary=f"Gain {forward:.4f} forward, {critical.gain:.4f} in deep plain networks.",
        facts={
            "gain, forward": f"{forward:.4f}: keeps unit variance",
            "gain, backward": f"{gains.gain(name, direction='backward'):.4f}: keeps that of "
            "gradients",
            "gain, critical": f"{critical.gain:.4f}: for plain networks, good over {depth}",
            "monotone": "yes" if activations.REGISTRY.get(name).monotone else "no",
        },
        examples=(f'activation = ["{name}"]   # in a study file',),
    )


def _study_part(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"fanin.{name}")
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "a package", "study", "A study") from None


def _factors(kind: str) -> Registry[Any, Any]:
    """The registry of optimizers, schedules or augmentations."""
    module = {"augmentations": "augmentation"}.get(kind, kind)
    registry: Registry[Any, Any] = _study_part(f"training.{module}").REGISTRY
    return registry


def _activation_names() -> tuple[str, ...]:
    from fanin.models import activations

    return activations.REGISTRY.names()


def _said(facts: dict[str, str]) -> dict[str, str]:
    """The facts that there are."""
    return {heading: text for heading, text in facts.items() if text}


def _tuning(study: Study) -> str:
    if study.tuning is None:
        return ""
    rates = ", ".join(f"{rate:g}" for rate in study.tuning.rates)
    per = f" for each {', '.join(study.tuning.per)}" if study.tuning.per else " for each condition"
    count = study.tuning.replicates
    return f"tuned{per} over {rates}, on {count} {'replicate' if count == 1 else 'replicates'} of other seeds"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else specs.render_value(value)


def _options(cls: type) -> tuple[Option, ...]:
    hints = typing.get_type_hints(cls)
    return tuple(
        Option(
            name=option.name,
            default=_default(option),
            takes=specs.describe_type(hints[option.name]),
        )
        for option in dataclasses.fields(cls)
        if option.init
    )


def _default(option: dataclasses.Field[Any]) -> str:
    if option.default is not dataclasses.MISSING:
        return specs.render_value(option.default)
    return (
        ""
        if option.default_factory is dataclasses.MISSING
        else specs.render_value(option.default_factory())
    )


def _initializer_names() -> tuple[str, ...]:
    from fanin import initializers

    return initializers.names()


def _model_names() -> tuple[str, ...]:
    from fanin import models

    return models.names()


def _dataset_names() -> tuple[str, ...]:
    from fanin import data

    return tuple(listing.name for listing in data.list_datasets())


def _study_names() -> tuple[str, ...]:
    names: tuple[str, ...] = _study_part("study.study_file").list_builtin_studies()
    return names


_KINDS: dict[str, _Kind] = {
    "initializers": _Kind(_initializer_names, _describe_initializer),
    "models": _Kind(_model_names, _describe_model),
    "datasets": _Kind(_dataset_names, _describe_dataset),
    "studies": _Kind(_study_names, _describe_study),
    **{
        kind: _Kind(
            partial(lambda kind: _factors(kind).names(), kind), partial(_describe_factor, kind)
        )
        for kind in ("optimizers", "schedules", "augmentations")
    },
    "metrics": _Kind(lambda: _study_part("training.metrics").REGISTRY.names(), _describe_metric),
    "activations": _Kind(_activation_names, _describe_activation),
}

_SINGULAR = {
    "studies": "study",
    **{kind: kind.removesuffix("s") for kind in _KINDS if kind != "studies"},
}
