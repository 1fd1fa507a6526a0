"""What the layers of a graph are called: bare names, and a raw parameter's own name where one
module has several matrices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from fanin.structure.graph import Node
from fanin.structure.module_kinds import classify_module, list_layers
from fanin.structure.wrappers import unwrap_name

_ADAPTED = "BaseTunerLayer"
_PARAMETRIZATION = re.compile(r"\.?parametrizations\.(\w+)\.original\d*$")


class LayerNames:
    """Names of layers in the bare model.

    A layer is called by its path: ``h.0.mlp.c_fc``. A module that holds several matrices and
    uses them one by one, such as stacked experts, has one layer for each, called as the parameter:
    ``mlp.experts.down_proj``.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modules: dict[str, nn.Module] = dict(model.named_modules())
        self._adapted = [
            path
            for path, module in self._modules.items()
            if any(
                base.__name__ == _ADAPTED and base.__module__.startswith("peft")
                for base in type(module).__mro__
            )
        ]
        self._found: dict[tuple[str, tuple[str, ...]], str] = {}

    def get_name(self, node: Node) -> str:
        """The name of a layer's node."""
        key = node.target, node.parameters
        if key not in self._found:
            self._found[key] = unwrap_name(self._model, self._find_full_name(node))
        return self._found[key]

    def get_bare_path(self, path: str) -> str:
        """The path of a module in the bare model."""
        return unwrap_name(self._model, path)

    def sort(self, paths: Iterable[str]) -> list[str]:
        """Paths in the model's order."""
        wanted = set(paths)
        return [path for path in self._modules if path in wanted]

    def list_names(self, path: str) -> list[str]:
        """The names of the layers that a module with a weight is."""
        split = self._is_split(path) and _list_matrices(self._modules[path])
        full = [f"{path}.{name}" if path else name for name in split] if split else [path]
        return [unwrap_name(self._model, name) for name in full]

    def list_layers_in(self, path: str) -> tuple[str, ...]:
        """The names of all layers inside a module."""
        return tuple(
            name
            for layer in list_layers(self._modules[path])
            for name in self.list_names(f"{path}.{layer}" if layer else path)
        )

    def get_module(self, path: str) -> nn.Module:
        """A module by its path in the model as it is, wrappers included."""
        return self._modules[path]

    def find_list(self, paths: Iterable[str]) -> str | None:
        """The innermost ``nn.ModuleList`` or ``nn.ModuleDict`` that all these modules lie in."""
        outer = [_list_outer(path) for path in paths]
        shared = set(outer[0]).intersection(*outer[1:]) if outer else set()
        lists = [
            path
            for path in shared
            if isinstance(self._modules.get(path), (nn.ModuleList, nn.ModuleDict))
        ]
        return max(lists, key=len, default=None)

    def is_adapter(self, path: str) -> bool:
        """Whether a layer lies in a layer of peft, and is not the base of that."""
        return any(
            path.startswith(f"{outer}.") and not path.startswith(f"{outer}.base_layer")
            for outer in self._adapted
        )

    def _find_full_name(self, node: Node) -> str:
        owned = [name for name in node.parameters if find_owner(name) == node.target]
        return owned[0] if owned and self._is_split(node.target) else node.target

    def _is_split(self, path: str) -> bool:
        """Whether each matrix of a module is a layer by itself."""
        module = self._modules[path]
        return classify_module(module) is None and (
            len(_list_matrices(module)) > 1 or any(True for _ in module.children())
        )


def _list_matrices(module: nn.Module) -> list[str]:
    """The matrices that a module holds itself; stacked biases of experts, which have fewer axes
    than the largest, are none.
    """
    own = {
        name: parameter.dim()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dim() >= 2
    }
    return [name for name, axes in own.items() if axes == max(own.values())]


def _list_outer(path: str) -> list[str]:
    """The paths of the modules that a module lies in."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def find_owner(parameter: str) -> str:
    """The path of the module that a parameter belongs to; that of an original of a parametrized
    weight is the layer.
    """
    bare = _PARAMETRIZATION.sub("", parameter)
    return bare if bare != parameter else parameter.rpartition(".")[0]
