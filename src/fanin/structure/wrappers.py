"""See through what is wrapped around a model or a layer: the names that its parameters have in the
bare model.

`torch.compile`, data parallelism, checkpointing and peft put a model into a module of theirs, so
that every name gains a prefix. The bare names are what rules, random streams and records speak of:
the same model has the same ones under every wrapper.
"""

from __future__ import annotations

from torch import nn

_WRAPPED: dict[tuple[str, str], str] = {
    ("torch", "OptimizedModule"): "_orig_mod",
    ("torch", "DataParallel"): "module",
    ("torch", "DistributedDataParallel"): "module",
    ("torch", "AveragedModel"): "module",
    ("torch", "FullyShardedDataParallel"): "_fsdp_wrapped_module",
    ("torch", "CheckpointWrapper"): "_checkpoint_wrapped_module",
    ("torch", "OffloadWrapper"): "_checkpoint_wrapped_module",
    ("deepspeed", "DeepSpeedEngine"): "module",
    ("peft", "PeftModel"): "base_model",
    ("peft", "BaseTuner"): "model",
    ("peft", "BaseTunerLayer"): "base_layer",
    ("peft", "AuxiliaryTrainingWrapper"): "original_module",
    ("peft", "ModulesToSaveWrapper"): "original_module",
}
"""By package and class, the attribute that holds what is wrapped. A class is known by its name and
package, so that no package has to be imported; a user's own attribute ``module`` is no wrapper.
"""


def find_wrapped(module: nn.Module) -> str | None:
    """The name of the child that a wrapper wraps; None if the module is no wrapper."""
    for base in type(module).__mro__:
        child = _WRAPPED.get((base.__module__.partition(".")[0], base.__name__))
        if child is not None and module._modules.get(child) is not None:
            return child
    return None


def unwrap_model(model: nn.Module) -> nn.Module:
    """The bare model: what the outermost wrappers hold. Layers inside may be wrapped still."""
    while (child := find_wrapped(model)) is not None:
        model = model.get_submodule(child)
    return model


def unwrap_name(model: nn.Module, name: str) -> str:
    """The bare name of a module, parameter or buffer of `model`.

    Names of wrapped children are left out, and the original of a parametrized weight is called as
    the weight: ``_orig_mod.fc.parametrizations.weight.original`` is ``fc.weight``. What the bare
    model does not have keeps its own name below the layer that it belongs to:
    ``base_model.model.fc.lora_A.default.weight`` is ``fc.lora_A.default.weight``. So do the several
    originals of one weight (torch's ``weight_norm``), and FSDP1's flat parameter.
    """
    parts = name.split(".") if name else []
    kept: list[str] = []
    module: nn.Module | None = model
    while parts:
        if module is not None and (tensor := _get_original(module, parts)) is not None:
            return ".".join([*kept, tensor])
        part = parts.pop(0)
        if module is None or part != find_wrapped(module):
            kept.append(part)
        # A scripted module has a mapping of its own here, without get.
        inside = module is not None and part in module._modules
        module = module._modules[part] if module is not None and inside else None
    return ".".join(kept)


def list_bare_names(model: nn.Module) -> dict[str, str]:
    """The bare name of each parameter by its qualified name, in the model's order; of a shared
    parameter every name is listed.
    """
    return {
        name: unwrap_name(model, name) for name, _ in model.named_parameters(remove_duplicate=False)
    }


def list_bare_paths(model: nn.Module) -> dict[str, str]:
    """The bare path of each module by its qualified path, in the model's order. A wrapper and what
    it wraps have the same one; of a shared module every path is listed.
    """
    return {
        path: unwrap_name(model, path) for path, _ in model.named_modules(remove_duplicate=False)
    }


def _get_original(module: nn.Module, parts: list[str]) -> str | None:
    """The tensor whose single original these last parts name; None if they name something else."""
    match parts:
        case ["parametrizations", tensor, "original"] if "parametrizations" in module._modules:
            return tensor
    return None
