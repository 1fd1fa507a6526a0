"""Descriptions of initializers, models, optimizers, schedules, augmentations, metrics and
activations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanin.catalogue.description import (
    Description,
    drop_empty,
    get_registry,
    import_part,
    list_options,
    read_summary,
)

if TYPE_CHECKING:
    from fanin.initializers import InitializerEntry


def describe_initializer(name: str) -> Description:
    from fanin import initializers
    from fanin.initializers.foreign_words import WORDS

    entry = initializers.REGISTRY.get(name)
    foreign = WORDS.find(name) if name != entry.name else None
    return Description(
        kind="initializers",
        name=entry.name,
        summary=entry.summary,
        facts={
            **({"you asked": f"{foreign}"} if foreign else {}),
            "formula": entry.formula,
            "when to use": entry.suited,
            "when not": entry.avoid,
            "level": {"tensor": "one weight at a time", "model": "the whole model"}[entry.level],
            "needs": _describe_needs(entry),
            "cost": entry.cost,
            "paper": str(entry.paper),
            "differs": entry.differs,
            **({"also called": also} if (also := _list_foreign_names(entry.name)) else {}),
        },
        options=list_options(entry.component),
        examples=_list_uses(entry),
    )


def _list_foreign_names(entry: str) -> str:
    """What torch and Keras call an entry, and the options that this implies."""
    from fanin.initializers.foreign_names import FOREIGN_NAMES

    return "; ".join(
        listed.name + (f" = {listed.meant}" if listed.meant != entry else "") + f" ({listed.home})"
        for listed in FOREIGN_NAMES
        if listed.entry == entry and listed.home != "fanin"
    )


def _describe_needs(entry: InitializerEntry) -> str:
    what = {
        "data": "a batch of data",
        "loss": "a loss (target= or loss=)",
        "followers": "a model that can be traced, or a batch to observe it on",
        "structure": "a model that can be traced, or a batch to observe it on",
    }
    plain = "the shape of the weight" if entry.level == "tensor" else "the model"
    return " and ".join(dict.fromkeys(what[need] for need in entry.needs)) or plain


def _list_uses(entry: InitializerEntry) -> tuple[str, ...]:
    """Lines to copy: on a model, and on one tensor where that is possible."""
    example = entry.examples[0] if entry.examples else entry.name
    if entry.component.gate_bias:
        return (f'fanin.initialize(model, "orthogonal", biases="{example}", seed=0)',)
    given = (", batch=x" if "data" in entry.needs else "") + (
        ", target=y" if "loss" in entry.needs else ""
    )
    on_model = f'fanin.initialize(model, "{example}", seed=0{given})'
    return (
        (on_model, f'fanin.get("{example}")(tensor, generator=generator)')
        if entry.level == "tensor"
        else (on_model,)
    )


def describe_recipe(name: str) -> Description:
    from fanin.initializers import recipes

    entry = recipes.REGISTRY.get(name)
    example = entry.examples[0] if entry.examples else entry.name
    return Description(
        kind="recipes",
        name=entry.name,
        summary=entry.summary,
        facts={
            "models": entry.models,
            "scales": entry.scales,
            "deviates": entry.deviates,
            "when not": entry.avoid,
            "source": str(entry.source),
        },
        options=list_options(entry.component),
        examples=(
            f'fanin.initialize(model, fanin.recipe("{example}"), seed=0, batch=x)',
            f'initializer = ["recipe:{example}"]   # in a study file',
        ),
    )


def describe_model(name: str) -> Description:
    from fanin import models

    entry = models.REGISTRY.get(name)
    task = {"any": "classification and regression"}.get(
        entry.task, models.benchmark_model.describe_task(entry.task)
    )
    task += (
        ", of a sequence or of each of its steps" if entry.input in ("sequence", "tokens") else ""
    )
    options = list_options(entry.options)
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


def describe_component(kind: str, name: str) -> Description:
    """An optimizer, a schedule, an augmentation: a registry's entry with a class of options."""
    entry = get_registry(kind).get(name)
    options = list_options(entry.options)
    text = read_summary(entry.options)
    example = (
        f"{name}({options[0].name}={options[0].default})"
        if options and options[0].default
        else name
    )
    written = f'["{example}"]' if kind == "augmentations" else f'"{example}"'
    key = kind.removesuffix("s")
    return Description(
        kind=kind,
        name=name,
        summary=f"{entry.summary[:1].upper()}{entry.summary[1:].rstrip('.')}.",
        facts=drop_empty({"what it does": text}),
        options=options,
        examples=(f"{key} = {written}   # in a study file",),
    )


def describe_metric(name: str) -> Description:
    entry = import_part("training.metrics").REGISTRY.get(name)
    tasks = ", ".join(task.replace("_", " ") for task in entry.tasks) or "any task"
    return Description(
        kind="metrics",
        name=name,
        summary=entry.summary,
        facts={"measures": tasks, "better": {"max": "higher", "min": "lower"}[entry.better]},
        examples=(f'metrics = ["{name}"]   # in a study file',),
    )


def describe_activation(name: str) -> Description:
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
