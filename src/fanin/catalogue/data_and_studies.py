"""Descriptions of data sets, of built-in studies and of claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanin import specs
from fanin.catalogue.description import Description, drop_empty, import_part, list_options
from fanin.errors import join_names

if TYPE_CHECKING:
    from fanin.data import DataInfo
    from fanin.study.study import Study


def describe_dataset(name: str) -> Description:
    from fanin import data

    entry, info, status = data.REGISTRY.find(name), data.describe(name), data.get_status(name)
    options = list_options(entry.options)
    example = f"{name}({options[0].name}={options[0].default})" if options else name
    return Description(
        kind="datasets",
        name=name,
        summary=entry.title,
        facts={
            "task": info.task.replace("_", " "),
            "one input": _describe_input(info),
            "target": _describe_target(info, entry.units),
            "samples": f"{info.n_train:,} for training, {info.n_test:,} for testing",
            "where": f"{status.where} ({'; '.join(filter(None, (status.state, status.note)))})",
            **({"reference": entry.reference} if entry.reference else {}),
        },
        options=options,
        examples=(f'data = ["{example}"]   # in a study file', f"fanin data verify {name}"),
    )


def _describe_input(info: DataInfo) -> str:
    shape = "×".join(map(str, info.input_shape))
    words = {"image": "image", "table": "numbers", "sequence": "sequence (steps × features)"}
    return (
        f"{shape} tokens of {info.vocabulary}"
        if info.kind == "tokens"
        else f"{shape} {words[info.kind]}"
    )


def _describe_target(info: DataInfo, units: str) -> str:
    match info.task:
        case "classification":
            return f"{info.outputs} classes"
        case "token_classification":
            return f"one of {info.outputs} tokens at every step"
        case "autoencoding":
            return "the input itself"
    if info.outputs > 1:
        return f"{info.outputs} numbers"
    return f"a number ({units})" if units else "a number"


def describe_study(name: str) -> Description:
    study = import_part("study.study").Study.load(name)
    plan = study.plan()
    varied: dict[str, dict[str, None]] = {}
    for planned in plan.cells:
        for axis, label in planned.labels.items():
            varied.setdefault(axis, {})[label] = None
    return Description(
        kind="studies",
        name=name,
        summary=plan.question,
        facts=drop_empty(
            {axis: join_names(labels) for axis, labels in varied.items()}
            | {
                "fixed": join_names(
                    f"{key} = {_format_value(value)}" for key, value in study.base.items()
                ),
                "learning rate": _describe_tuning(study),
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


def describe_claim(name: str) -> Description:
    import_part("claims.claim")  # says which extra is missing, if one is
    claim = import_part("claims").get(name)
    return Description(
        kind="claims",
        name=name,
        summary=claim.statement,
        facts=drop_empty(
            {
                "supported if": claim.supported_if,
                "refuted if": claim.refuted_if,
                "smallest effect of interest": claim.smallest_effect,
                "studies": join_names(claim.studies),
                "observations": join_names(claim.observations),
                "seen before": join_names(claim.seen_before),
                "amendment": claim.amendment,
            }
        ),
        examples=(f"fanin run claims --only claim={name}",),
    )


def _describe_tuning(study: Study) -> str:
    if study.tuning is None:
        return ""
    rates = ", ".join(f"{rate:g}" for rate in study.tuning.rates)
    per = f" for each {', '.join(study.tuning.per)}" if study.tuning.per else " for each condition"
    count = study.tuning.replicates
    noun = "replicate" if count == 1 else "replicates"
    return f"tuned{per} over {rates}, on {count} {noun} of other seeds"


def _format_value(value: Any) -> str:
    return value if isinstance(value, str) else specs.render_value(value)
