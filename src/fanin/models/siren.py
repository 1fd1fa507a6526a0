"""Networks of sines for functions of coordinates: `siren`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from torch import Tensor, nn

from fanin import specs
from fanin.errors import SpecError, quote
from fanin.fans import Convention
from fanin.fans.layer_parameters import LayerParameters, describe_layer
from fanin.models import activations
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.model_options import MAX_DEPTH, MAX_WIDTH, check_count


@dataclass(frozen=True)
class SirenOptions:
    """Width and number of the hidden layers; the frequencies in the first sine and in all others.

    With another activation than sin there are no frequencies, so that networks which differ in them
    only are one. `bias` is that of the hidden layers: the output always has one.
    """

    width: int = 64
    depth: int = 3
    omega: float = 30.0
    omega_hidden: float = 30.0
    activation: str = "sin"
    bias: bool = True

    def __post_init__(self) -> None:
        specs.coerce_fields("siren", self)
        check_count(self.width, "width", MAX_WIDTH)
        check_count(self.depth, "depth", MAX_DEPTH)
        for option in ("omega", "omega_hidden"):
            if getattr(self, option) <= 0:
                raise SpecError(
                    f"siren({option}=…) is a frequency above 0; received "
                    f"{quote(getattr(self, option))}."
                )
        object.__setattr__(self, "activation", activations.get(self.activation).name)
        self._reset_unused_options()

    @property
    def frequencies(self) -> tuple[float, ...]:
        """What each hidden layer's outputs are multiplied by before the activation."""
        if self.activation != "sin":
            return (1.0,) * self.depth
        return (self.omega, *(self.omega_hidden,) * (self.depth - 1))

    def _reset_unused_options(self) -> None:
        default = {field.name: field.default for field in fields(self)}
        if self.activation != "sin":
            object.__setattr__(self, "omega", default["omega"])
        if self.activation != "sin" or self.depth == 1:
            object.__setattr__(self, "omega_hidden", default["omega_hidden"])


class CoordinateLinear(nn.Linear):
    """``nn.Linear`` on coordinates. Its weight's layout has the part `COORDINATES`, by which a rule
    can tell it from others.
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
    """sin(omega·(W·x + b)) for each hidden layer → linear. With another activation φ, φ(W·x + b):
    the usual network beside it.

    The source's networks are ``siren(width=256)``, on inputs in [-1, 1], such as those of the data
    set image-fitting. Their weights are U[-1/n, 1/n] in the first layer and U[-√(6/n)/30,
    √(6/n)/30] in all others, the output too, for n inputs:

        fanin.initialize(model, {"hidden.0.weight": "siren(first=true)"}, default="siren", seed=0)

    with siren(omega=…) where `omega_hidden` is not 30. Most other rules do not know the frequency:
    under he_normal and the like the phases are 30 times what they aim at.

    Args:
        options: width, depth, frequencies, activation and biases.
        input_shape: (features,) of one row of coordinates.
        outputs: number of outputs.

    Source: Sitzmann et al., Implicit Neural Representations with Periodic Activation Functions,
    2020. Differs from the authors' program in biases, which are zero under `fanin.initialize` and
    torch's default, U(±1/√n), there.
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
        "functions of place or time.",
        options=SirenOptions,
        build=SirenNetwork,
        input="table",
        task="any",
        channels_last=False,
        paper="Sitzmann et al., Implicit Neural Representations with Periodic Activation "
        "Functions, 2020",
    )
)
