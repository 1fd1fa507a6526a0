"""Fully connected networks with structure: residual, gated, coordinates, autoencoders, flows."""

from __future__ import annotations

import itertools
import math
from functools import partial

import torch
import torch.nn.functional as F
from sound_models.entry import Case, add, draw_values, sound
from sound_models.plain import classify, fill_weights, he, lecun, regress, stack
from torch import Tensor, nn
from torch.nn import init


class ResidualMlp(nn.Module):
    """x + gate · branch(x); the branch may be normalized, gated or end in a zero layer."""

    def __init__(self, kind: str, depth: int = 8, width: int = 32) -> None:
        super().__init__()
        self.kind = kind
        self.stem, self.head = nn.Linear(12, width), nn.Linear(width, 4)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width) if kind in ("pre_norm", "layer_scale") else nn.Identity(),
                nn.Linear(width, 2 * width),
                nn.ReLU(),
                nn.Linear(2 * width, width),
            )
            for _ in range(depth)
        )
        start = {"skip_init": 0.0, "rezero": 0.0, "layer_scale": 1e-6}.get(kind, 1.0)
        size = width if kind == "layer_scale" else 1
        gated = kind in ("skip_init", "rezero", "layer_scale")
        self.gates = nn.ParameterList(
            [nn.Parameter(torch.full((size,), start)) for _ in range(depth if gated else 0)]
        )
        self.norm = nn.LayerNorm(width) if kind == "pre_norm" else nn.Identity()
        fill_weights(self, he)
        if kind == "fixup":
            self.start_fixup(depth)
        init.normal_(self.head.weight, std=width**-0.5)

    def start_fixup(self, depth: int) -> None:
        """Zhang et al. 2019: scale by depth^(-1/(2m - 2)), zero the last layer of each branch."""
        with torch.no_grad():
            for block in self.blocks:
                block[1].weight *= depth**-0.5
                init.zeros_(block[3].weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            branch = block(x)
            x = x + (self.gates[index] * branch if len(self.gates) else branch)
        return self.head(self.norm(x))


for _kind in ("pre_norm", "skip_init", "rezero", "layer_scale", "fixup"):
    add(f"residual_mlp_{_kind}", lambda kind=_kind: classify(ResidualMlp(kind)))


class Highway(nn.Module):
    """Gates that start mostly closed: the bias of the transform gate is -2."""

    def __init__(self, depth: int = 6, width: int = 24) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(12, width), nn.Linear(width, 4)
        self.plain = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gate = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        for gate in self.gate:
            init.constant_(gate.bias, -2.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for plain, gate in zip(self.plain, self.gate, strict=True):
            opened = torch.sigmoid(gate(x))
            x = opened * torch.relu(plain(x)) + (1 - opened) * x
        return self.head(x)


@sound(rate=1e-2)
def highway() -> Case:
    return classify(Highway())


class Gated(nn.Module):
    """SwiGLU blocks in a residual stream."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(12, width), nn.Linear(width, 4)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(3))
        self.gates = nn.ModuleList(nn.Linear(width, 48, bias=False) for _ in range(3))
        self.ups = nn.ModuleList(nn.Linear(width, 48, bias=False) for _ in range(3))
        self.downs = nn.ModuleList(nn.Linear(48, width, bias=False) for _ in range(3))
        fill_weights(self, lecun)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, gate, up, down in zip(self.norms, self.gates, self.ups, self.downs, strict=True):
            y = norm(x)
            x = x + down(F.silu(gate(y)) * up(y))
        return self.head(x)


@sound()
def mlp_swiglu() -> Case:
    return classify(Gated())


class Maxout(nn.Module):
    """The largest of three linear pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 3 * 24), nn.Linear(24, 3 * 24)
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            x = layer(x).unflatten(-1, (24, 3)).amax(-1)
        return self.head(x)


@sound()
def maxout() -> Case:
    return classify(Maxout())


# --- coordinates


class Siren(nn.Module):
    """sin(30 x) after each layer, with Sitzmann's start."""

    def __init__(self, depth: int = 3, width: int = 64) -> None:
        super().__init__()
        sizes = [2, *[width] * depth]
        pairs = itertools.pairwise(sizes)
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairs)
        self.head = nn.Linear(width, 3)
        for index, layer in enumerate([*self.layers, self.head]):
            bound = 1 / 2 if index == 0 else math.sqrt(6 / width) / 30
            init.uniform_(layer.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.sin(30 * layer(x))
        return self.head(x)


def draw_picture(samples: int = 128) -> tuple[Tensor, Tensor]:
    """Coordinates in [-1, 1]², and colours in [-1, 1]."""
    x = 2 * torch.rand(samples, 2) - 1
    return x, torch.sin(x @ (3 * torch.randn(2, 3)))


@sound(rate=1e-4)
def siren() -> Case:
    return Case(Siren(), *draw_picture())


class RadianceField(nn.Module):
    """Fourier features, and a skip connection that gives the input again."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2.0 ** torch.arange(4) * math.pi)
        self.first = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width))
        self.second = nn.Sequential(nn.Linear(width + 16, width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        angles = (x[..., None] * self.frequencies).flatten(1)
        features = torch.cat([angles.sin(), angles.cos()], -1)
        hidden = torch.relu(self.first(features))
        return torch.tanh(self.second(torch.cat([hidden, features], -1)))


@sound()
def radiance_field() -> Case:
    return Case(RadianceField(), *draw_picture())


# --- autoencoders


@sound()
def autoencoder() -> Case:
    model = fill_weights(stack([20, 64, 8, 64, 20], nn.ReLU), he)
    x = torch.randn(64, 5) @ torch.randn(5, 20) / math.sqrt(5)
    return Case(model, x, x.clone())


@sound()
def autoencoder_denoising() -> Case:
    x = torch.randn(64, 5) @ torch.randn(5, 20) / math.sqrt(5)
    model = stack([20, 32, 20], nn.SiLU)
    return Case(model, x + 0.3 * torch.randn_like(x), x)


class TiedAutoencoder(nn.Module):
    """The decoder is the transposed encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(20, 12)
        self.bias = nn.Parameter(torch.zeros(20))
        init.xavier_uniform_(self.encoder.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.encoder(x)), self.encoder.weight.T, self.bias)


@sound()
def autoencoder_tied() -> Case:
    x = torch.randn(64, 5) @ torch.randn(5, 20) / math.sqrt(5)
    return Case(TiedAutoencoder(), x, x.clone())


class Variational(nn.Module):
    """An encoder of mean and log-variance, and a decoder of a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 64), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(64, 4), nn.Linear(64, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 20))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return {"picture": self.decoder(code), "mean": mean, "log_variance": log_variance}


def take_evidence(output: dict[str, Tensor], target: Tensor) -> Tensor:
    """The negative lower bound of the evidence."""
    mean, log_variance = output["mean"], output["log_variance"]
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return F.binary_cross_entropy_with_logits(output["picture"], target) + 0.01 * divergence


@sound()
def variational_autoencoder() -> Case:
    x = (torch.randn(64, 5) @ torch.randn(5, 20) > 0).float()
    return Case(Variational(), x, x.clone(), take_evidence)


# --- normalizing flows and mixtures


class Coupling(nn.Module):
    """RealNVP: each half moves the other; the last layers are 0, so the flow starts as identity."""

    def __init__(self, layers: int = 4, features: int = 6) -> None:
        super().__init__()
        half = features // 2
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(half, 32), nn.ReLU(), nn.Linear(32, 2 * half))
            for _ in range(layers)
        )
        for net in self.nets:
            init.zeros_(net[-1].weight)
            init.zeros_(net[-1].bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.chunk(2, -1)
        volume = x.new_zeros(len(x))
        for net in self.nets:
            shift, scale = net(first).chunk(2, -1)
            scale = torch.tanh(scale)
            second = second * scale.exp() + shift
            volume = volume + scale.sum(-1)
            first, second = second, first
        return torch.cat([first, second], -1), volume


@sound()
def normalizing_flow() -> Case:
    def loss(output: tuple[Tensor, Tensor], target: Tensor | None) -> Tensor:
        return (0.5 * output[0].square().sum(-1) - output[1]).mean()

    x = torch.randn(64, 6)
    x[:, 3:] = 0.5 * x[:, 3:] + x[:, :3].square()
    return Case(Coupling(), x, x.clone(), loss)


class MixtureDensity(nn.Module):
    """Weights, means and widths of three normal distributions."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(12, 32), nn.Tanh())
        self.weights, self.means, self.widths = (nn.Linear(32, 3) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.trunk(x)
        return self.weights(hidden), self.means(hidden), self.widths(hidden).exp()


def take_mixture(output: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
    """The negative log-likelihood of the mixture."""
    weights, means, widths = output
    log_density = -0.5 * ((target - means) / widths).square() - widths.log()
    return -torch.logsumexp(F.log_softmax(weights, -1) + log_density, -1).mean()


@sound(rate=1e-2)
def mixture_density() -> Case:
    case = regress(MixtureDensity())
    return Case(case.model, case.batch, case.target, take_mixture)


class MultiTask(nn.Module):
    """A shared trunk with two heads, and a dict as output."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
        self.category, self.amount = nn.Linear(48, 4), nn.Linear(48, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.trunk(x)
        return {"category": self.category(hidden), "amount": self.amount(hidden)}


@sound()
def multi_task() -> Case:
    case = classify(MultiTask())
    amount = draw_values(case.batch)

    def loss(output: dict[str, Tensor], target: Tensor) -> Tensor:
        squared = F.mse_loss(output["amount"], amount)
        return F.cross_entropy(output["category"], target) + squared

    return Case(case.model, case.batch, case.target, loss)


class Hypernetwork(nn.Module):
    """One network makes the weights of another."""

    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 12 * 8 + 8))
        self.code = nn.Parameter(torch.randn(4))
        self.head = nn.Linear(8, 1)
        with torch.no_grad():
            init.normal_(self.make[2].weight, std=(32 * 12) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        made = self.make(self.code)
        hidden = F.linear(x, made[:96].view(8, 12), made[96:])
        return self.head(torch.relu(hidden))


@sound()
def hypernetwork() -> Case:
    return regress(Hypernetwork())


class NeuralOde(nn.Module):
    """Ten Euler steps of one shared network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(12, 16), nn.Linear(16, 1)
        self.field = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(10):
            x = x + 0.1 * self.field(x)
        return self.head(x)


@sound()
def neural_ode() -> Case:
    return regress(NeuralOde())


def make_equalized(width: int = 32) -> nn.Module:
    """StyleGAN's mapping network: N(0, 1) weights that are scaled when they are used."""
    return nn.Sequential(
        *(nn.Sequential(Equalized(12 if i == 0 else width, width), Rescaled()) for i in range(4)),
        Equalized(width, 1),
    )


class Equalized(nn.Module):
    """Weights N(0, 1), multiplied by 1/√fan-in in the forward pass."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight / math.sqrt(x.shape[-1]), self.bias)


class Rescaled(nn.Module):
    """Leaky ReLU times √2."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.2) * math.sqrt(2)


add("equalized_learning_rate", partial(lambda: regress(make_equalized())), rate=1e-2)
