"""Fully connected networks: activations with the starts that fit them, normalization, losses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from sound_models.entry import Case, add, draw_classes, draw_values, sound
from torch import Tensor, nn
from torch.nn import init
from torch.nn.utils import parametrizations

Fill = Callable[[Tensor], object]


def fill_weights(model: nn.Module, fill: Fill) -> nn.Module:
    """Fill the matrices of all linear layers and convolutions; biases become 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d):
            fill(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
    return model


def he(weight: Tensor) -> Tensor:
    """He's normal start for ReLU."""
    return init.kaiming_normal_(weight, nonlinearity="relu")


def lecun(weight: Tensor) -> Tensor:
    """LeCun's normal start."""
    return init.kaiming_normal_(weight, nonlinearity="linear")


def stack(
    sizes: list[int],
    activation: Callable[[], nn.Module],
    norm: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """Linear layers with activations between them, each after a normalization if there is one."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs)]
        layers += [norm(outputs)] if norm is not None else []
        layers += [activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def classify(model: nn.Module, features: int = 12, classes: int = 4, samples: int = 32) -> Case:
    """With standard normal inputs and integer labels."""
    x = torch.randn(samples, features)
    return Case(model, x, draw_classes(x, classes))


def regress(model: nn.Module, features: int = 12, outputs: int = 1, samples: int = 32) -> Case:
    """With standard normal inputs and standardized targets."""
    x = torch.randn(samples, features)
    return Case(model, x, draw_values(x, outputs))


def make_mlp(
    activation: Callable[[], nn.Module],
    depth: int,
    fill: Fill | None,
    width: int = 48,
    norm: Callable[[int], nn.Module] | None = None,
) -> Case:
    """A classifier with so many hidden layers."""
    model: nn.Module = stack([12, *[width] * depth, 4], activation, norm)
    return classify(model if fill is None else fill_weights(model, fill))


def add_mlps() -> None:
    """Classifiers by activation, depth and start; fill None is torch's own, for shallow ones."""
    orthogonal = partial(init.orthogonal_, gain=1.0)
    leaky = partial(init.kaiming_normal_, a=0.2, nonlinearity="leaky_relu")
    for name, activation, depth, fill in (
        ("relu_he_3", nn.ReLU, 3, he),
        ("relu_he_8", nn.ReLU, 8, he),
        ("relu_he_20", nn.ReLU, 20, he),
        ("relu_orthogonal_10", nn.ReLU, 10, partial(init.orthogonal_, gain=math.sqrt(2))),
        ("relu_default_1", nn.ReLU, 1, None),
        ("relu_default_2", nn.ReLU, 2, None),
        ("relu_default_3", nn.ReLU, 3, None),
        ("tanh_xavier_4", nn.Tanh, 4, init.xavier_normal_),
        ("tanh_xavier_gain_8", nn.Tanh, 8, partial(init.xavier_uniform_, gain=5 / 3)),
        ("tanh_orthogonal_20", nn.Tanh, 20, orthogonal),
        ("tanh_default_2", nn.Tanh, 2, None),
        ("sigmoid_default_1", nn.Sigmoid, 1, None),
        ("gelu_he_6", nn.GELU, 6, he),
        ("silu_he_6", nn.SiLU, 6, he),
        ("mish_he_6", nn.Mish, 6, he),
        ("elu_he_6", nn.ELU, 6, lecun),
        ("selu_lecun_12", nn.SELU, 12, lecun),
        ("leaky_relu_8", partial(nn.LeakyReLU, 0.2), 8, leaky),
        ("prelu_6", nn.PReLU, 6, he),
        ("hardswish_4", nn.Hardswish, 4, he),
        ("softsign_3", nn.Softsign, 3, init.xavier_normal_),
    ):
        add(f"mlp_{name}", partial(make_mlp, activation, depth, fill))
    for name, norm, activation in (
        ("layer_norm", nn.LayerNorm, nn.ReLU),
        ("rms_norm", nn.RMSNorm, nn.GELU),
        ("batch_norm", nn.BatchNorm1d, nn.ReLU),
        ("batch_norm_tanh", nn.BatchNorm1d, nn.Tanh),
    ):
        add(f"mlp_{name}_8", partial(make_mlp, activation, 8, None, norm=norm))


add_mlps()


@sound()
def mlp_wide() -> Case:
    return classify(fill_weights(stack([12, 512, 512, 4], nn.ReLU), he))


@sound(rate=1e-2)
def logistic_regression() -> Case:
    return classify(nn.Linear(12, 4))


@sound(rate=1e-2)
def linear_regression() -> Case:
    return regress(nn.Sequential(nn.Linear(12, 1)))


@sound()
def mlp_regressor() -> Case:
    return regress(fill_weights(stack([12, 64, 64, 3], nn.ReLU), he), outputs=3)


@sound()
def mlp_dropout() -> Case:
    layers = [nn.Linear(12, 64), nn.ReLU(), nn.Dropout(0.5)]
    layers += [nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 4)]
    return classify(fill_weights(nn.Sequential(*layers), he))


@sound(rate=1e-2)
def mlp_zero_head() -> Case:
    model = fill_weights(stack([12, 64, 64, 4], nn.ReLU), he)
    assert isinstance(model, nn.Sequential)
    assert isinstance(model[-1], nn.Linear)
    init.zeros_(model[-1].weight)
    return classify(model)


@sound()
def mlp_binary_logits() -> Case:
    case = classify(stack([12, 32, 1], nn.ReLU), classes=2)
    return Case(case.model, case.batch, case.target[:, None].float(), nn.BCEWithLogitsLoss())


@sound()
def mlp_binary_probability() -> Case:
    model = nn.Sequential(*stack([12, 32, 1], nn.ReLU), nn.Sigmoid())
    case = classify(model, classes=2)
    return Case(model, case.batch, case.target[:, None].float(), nn.BCELoss())


@sound()
def mlp_multi_label() -> Case:
    case = regress(stack([12, 32, 5], nn.ReLU), outputs=5)
    return Case(case.model, case.batch, (case.target > 0).float(), nn.BCEWithLogitsLoss())


@sound()
def mlp_log_softmax() -> Case:
    case = classify(nn.Sequential(*stack([12, 32, 4], nn.ReLU), nn.LogSoftmax(-1)))
    return Case(case.model, case.batch, case.target, nn.NLLLoss())


def take_log_likelihood(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of probabilities."""
    return F.nll_loss(output.clamp(1e-7, 1).log(), target)


@sound()
def mlp_softmax_probabilities() -> Case:
    model = nn.Sequential(*stack([12, 32, 32, 4], nn.ReLU), nn.Softmax(-1))
    case = classify(fill_weights(model, init.xavier_uniform_))
    return Case(case.model, case.batch, case.target, take_log_likelihood)


@sound(rate=1e-2)
def poisson_regression() -> Case:
    case = regress(stack([12, 32, 1], nn.Tanh))
    counts = torch.poisson(torch.exp(case.target))
    return Case(case.model, case.batch, counts, nn.PoissonNLLLoss(log_input=True))


def take_pinball(output: Tensor, target: Tensor) -> Tensor:
    """Quantile loss at 0.1, 0.5 and 0.9."""
    quantiles = torch.tensor([0.1, 0.5, 0.9])
    error = target - output
    return torch.maximum(quantiles * error, (quantiles - 1) * error).mean()


@sound()
def quantile_regression() -> Case:
    case = regress(stack([12, 32, 32, 3], nn.ReLU))
    return Case(case.model, case.batch, case.target, take_pinball)


class Heteroscedastic(nn.Module):
    """Mean and log-variance."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(32, 1), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(x)
        return self.mean(hidden), self.log_variance(hidden)


@sound()
def gaussian_likelihood() -> Case:
    def loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        return F.gaussian_nll_loss(output[0], target, output[1].exp())

    case = regress(Heteroscedastic())
    return Case(case.model, case.batch, case.target, loss)


@sound()
def mlp_weight_norm() -> Case:
    model = fill_weights(stack([12, 32, 32, 4], nn.ReLU), he)
    for module in list(model.modules()):
        if isinstance(module, nn.Linear):
            parametrizations.weight_norm(module)
    return classify(model)


@sound()
def mlp_orthogonal_parametrization() -> Case:
    model = stack([12, 32, 32, 4], nn.Tanh)
    parametrizations.orthogonal(model[2])
    return classify(model)


@sound()
def critic_spectral_norm() -> Case:
    layers = [parametrizations.spectral_norm(nn.Linear(12, 32)), nn.LeakyReLU(0.2)]
    layers += [parametrizations.spectral_norm(nn.Linear(32, 32)), nn.LeakyReLU(0.2)]
    case = classify(nn.Sequential(*layers, parametrizations.spectral_norm(nn.Linear(32, 1))), 12, 2)
    target = 2.0 * case.target[:, None] - 1
    return Case(case.model, case.batch, target, lambda o, t: F.relu(1 - o * t).mean())
