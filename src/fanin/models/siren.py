"""Networks of sines, for functions of coordinates: `siren`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from torch import Tensor, nn

from fanin.errors import SpecError, quote
from fanin.fans import Convention
from fanin.fans.layer_parameters import LayerParameters, describe_layer
from fanin.models import activations
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.model_options import (
    MAX_DEPTH,
    MAX_WIDTH,
    canonicalize_options,
    check_count,
    set_option,
)


@dataclass(frozen=True)
class SirenOptions:
    """Width and number of hidden layers; the frequencies of the first sine and of the others.

    An activation other than sin has no frequencies; they are then set to their defaults, so that
    equal networks have equal options. `bias` is that of the hidden layers; the output always has
    one.
    """

    width: int = 64
    depth: int = 3
    omega: float = 30.0
    omega_hidden: float = 30.0
    activation: str = "sin"
    bias: bool = True

    def __post_init__(self) -> None:
        canonicalize_options("siren", self)
        check_count(self.width, "width", MAX_WIDTH)
        check_count(self.depth, "depth", MAX_DEPTH)
        for option in ("omega", "omega_hidden"):
            if getattr(self, option) <= 0:
                raise SpecError(
                    f"siren({option}=…) must be above 0, not {quote(getattr(self, option))}."
                )
        self._reset_unused_options()

    @property
    def frequencies(self) -> tuple[float, ...]:
        """The factor of each hidden layer's outputs before the activation."""
        if self.activation != "sin":
            return (1.0,) * self.depth
        return (self.omega, *(self.omega_hidden,) * (self.depth - 1))

    def _reset_unused_options(self) -> None:
        default = {field.name: field.default for field in fields(self)}
        if self.activation != "sin":
            set_option(self, "omega", default["omega"])
        if self.activation != "sin" or self.depth == 1:
            set_option(self, "omega_hidden", default["omega_hidden"])


class CoordinateLinear(nn.Linear):
    """``nn.Linear`` on coordinates.

    The layout of its weight has the part `COORDINATES`, so that a rule can recognize it.
    """


COORDINATES = "coordinates"


@describe_layer.register
def _describe_coordinates(module: CoordinateLinear, convention: Convention) -> LayerParameters:
    plain = describe_layer.dispatch(nn.Linear)(module, convention)
    return {
        name: replace(held, layout=replace(held.layout, part=COORDINATES))
        for name, held in plain.items()
    }


class SirenNetwork(nn.Module):
    """sin(omega·(W·x + b)) for each hidden layer, then a linear layer.

    Another activation φ gives φ(W·x + b), an ordinary network for comparison.

    The networks of the source are ``siren(width=256)``, on inputs in [-1, 1], such as those of the
    data set image-fitting. For n inputs, their weights are U[-1/n, 1/n] in the first layer and
    U[-√(6/n)/30, √(6/n)/30] in all others, including the output:

        fanin.initialize(model, {"hidden.0.weight": "siren(first=true)"}, default="siren", seed=0)

    with siren(omega=…) if `omega_hidden` is not 30. Most other rules ignore the frequency: under
    he_normal, for example, the phases are 30 times as large as the rule intends.

    Args:
        options: width, depth, frequencies, activation and biases.
        input_shape: (features,) of one row of coordinates.
        outputs: number of outputs.

    Source: Sitzmann et al., Implicit Neural Representations with Periodic Activation Functions,
    2020. Biases differ from the authors' code: they are zero under `fanin.initialize`, and torch's
    default, U(±1/√n), there.
    """

    def __init__(self, options: SirenOptions, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.frequencies = options.frequencies
        width, bias = options.width, options.bias
        first = CoordinateLinear(input_shape[0], width, bias=bias)
        others = (nn.Linear(width, width, bias=bias) for _ in range(options.depth - 1))
        self.hidden = nn.ModuleList([first, *others])
        self.activations = nn.ModuleList(
            activations.get(options.activation).build() for _ in self.hidden
        )
        self.output = nn.Linear(options.width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, features) → (N, outputs)."""
        for layer, frequency, activation in zip(
            self.hidden, self.frequencies, self.activations, strict=True
        ):
            x = layer(x)
            x = activation(x if frequency == 1 else frequency * x)
        output: Tensor = self.output(x)
        return output


REGISTRY.add(
    ModelEntry(
        name="siren",
        summary="Coordinates, 3 layers of 64 sines of frequency 30, outputs: for signals as "
        "functions of position or time.",
        options=SirenOptions,
        build=SirenNetwork,
        input="table",
        task="any",
        channels_last=False,
        paper="Sitzmann et al., Implicit Neural Representations with Periodic Activation "
        "Functions, 2020",
    )
)
