"""Classifiers of images and signals: plain, normalized, residual, depthwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from sound_models.entry import Case, add, draw_classes, draw_images, draw_values, sound
from sound_models.plain import fill_weights, he
from torch import Tensor, nn
from torch.nn import init
from torch.nn.utils import parametrizations

Norm = Callable[[int], nn.Module]


def classify_images(model: nn.Module, channels: int = 3, side: int = 16, samples: int = 8) -> Case:
    """Images with integer labels."""
    x = draw_images(samples, channels, side)
    return Case(model, x, draw_classes(x, 5))


def pool_head(width: int, outputs: int = 5) -> list[nn.Module]:
    """Global average, then linear."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs)]


def group_norm(width: int) -> nn.Module:
    """Groups of four channels."""
    return nn.GroupNorm(width // 4, width)


@sound()
def lenet_tanh() -> Case:
    layers: list[nn.Module] = [nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2)]
    layers += [nn.Conv2d(6, 16, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()]
    layers += [nn.Linear(256, 84), nn.Tanh(), nn.Linear(84, 5)]
    model = fill_weights(nn.Sequential(*layers), init.xavier_uniform_)
    return classify_images(model, channels=1)


@sound()
def cnn_relu_default() -> Case:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    layers += [nn.Linear(512, 64), nn.ReLU(), nn.Dropout(0.25), nn.Linear(64, 5)]
    return classify_images(nn.Sequential(*layers))


@sound()
def cnn_strided_he() -> Case:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 48), (48, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
    return classify_images(fill_weights(nn.Sequential(*layers, *pool_head(64)), he))


def make_vgg(norm: Norm | None, depth_per_stage: int = 2) -> Case:
    """Stages of convolutions, each followed by a normalization if there is one."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs in (16, 32, 48):
        for _ in range(depth_per_stage):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=norm is None)]
            layers += [norm(outputs)] if norm is not None else []
            layers += [nn.ReLU()]
            inputs = outputs
        layers += [nn.MaxPool2d(2)]
    return classify_images(fill_weights(nn.Sequential(*layers, *pool_head(48)), he))


add("vgg_plain_he", partial(make_vgg, None))
add("vgg_batch_norm", partial(make_vgg, nn.BatchNorm2d))
add("vgg_batch_norm_deep", partial(make_vgg, nn.BatchNorm2d, 4))
add("vgg_group_norm", partial(make_vgg, group_norm))


class Residual(nn.Module):
    """A basic block in the given style."""

    def __init__(self, inputs: int, outputs: int, style: str, depth: int) -> None:
        super().__init__()
        self.style, stride = style, 1 if inputs == outputs else 2
        norm: Norm = {"group": group_norm, "fixup": NoNorm, "skip_init": NoNorm}.get(
            style, nn.BatchNorm2d
        )
        self.norm1 = norm(inputs if style == "pre_activation" else outputs)
        self.norm2 = norm(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = (
            nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, 2, bias=False)
        )
        fill_weights(self, he)
        if style in ("fixup", "skip_init"):
            self.scale = nn.Parameter(torch.tensor(1.0 if style == "fixup" else 0.0))
            self.biases = nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(4)])
        if style == "fixup":
            with torch.no_grad():
                self.conv1.weight *= depth**-0.5
                self.conv2.weight.zero_()
        if style == "zero_gamma":
            init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        if self.style in ("fixup", "skip_init"):
            a, b, c, d = self.biases
            branch = self.conv2(torch.relu(self.conv1(x + a) + b) + c)
            return torch.relu(self.shortcut(x) + self.scale * branch + d)
        if self.style == "pre_activation":
            y = self.conv1(torch.relu(self.norm1(x)))
            return self.shortcut(x) + self.conv2(torch.relu(self.norm2(y)))
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class NoNorm(nn.Identity):
    """In place of a normalization."""


def make_resnet(style: str, per_stage: int = 2) -> Case:
    """Three stages of basic blocks."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False)]
    if style not in ("fixup", "skip_init"):
        layers += [group_norm(16) if style == "group" else nn.BatchNorm2d(16), nn.ReLU()]
    fill_weights(nn.Sequential(*layers), he)
    inputs = 16
    for outputs in (16, 32, 48):
        for _ in range(per_stage):
            layers += [Residual(inputs, outputs, style, 3 * per_stage)]
            inputs = outputs
    layers += [nn.BatchNorm2d(48), nn.ReLU()] if style == "pre_activation" else []
    model = nn.Sequential(*layers, *pool_head(48))
    if style in ("fixup", "skip_init"):
        init.zeros_(model[-1].weight)
        init.zeros_(model[-1].bias)
    return classify_images(model)


for _style in ("post_activation", "zero_gamma", "pre_activation", "group", "fixup", "skip_init"):
    add(f"resnet_{_style}", partial(make_resnet, _style))
add("resnet_deep", partial(make_resnet, "post_activation", 6))


class Dense(nn.Module):
    """DenseNet: each layer sees all before."""

    def __init__(self, growth: int = 8, layers: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(16 + growth * i),
                nn.ReLU(),
                nn.Conv2d(16 + growth * i, growth, 3, padding=1, bias=False),
            )
            for i in range(layers)
        )
        width = 16 + growth * layers
        self.head = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), *pool_head(width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(x)


@sound()
def densenet() -> Case:
    return classify_images(Dense())


class SqueezeExcite(nn.Module):
    """A gate per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(F.silu(self.down(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class InvertedResidual(nn.Module):
    """MBConv: expand, depthwise, squeeze-and-excite, project."""

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        wide = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(width, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.SiLU(),
            nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.SiLU(),
            SqueezeExcite(wide),
            nn.Conv2d(wide, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


@sound()
def efficientnet() -> Case:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU()]
    layers += [InvertedResidual(16), InvertedResidual(16, 5), *pool_head(16)]
    return classify_images(nn.Sequential(*layers))


class ConvNext(nn.Module):
    """Depthwise 7×7, LayerNorm, MLP, LayerScale 1e-6."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))
        for layer in (self.depthwise, self.up, self.down):
            init.trunc_normal_(layer.weight, std=0.02)
            init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).movedim(1, -1))
        return x + (self.gamma * self.down(F.gelu(self.up(y)))).movedim(-1, 1)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of images."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


@sound()
def convnext() -> Case:
    stem = [nn.Conv2d(3, 24, 4, 4), ChannelNorm(24)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(24), nn.Linear(24, 5)]
    return classify_images(nn.Sequential(*stem, *(ConvNext() for _ in range(4)), *head))


class ConvMixer(nn.Module):
    """Depthwise with a residual, then pointwise."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.norm1(F.gelu(self.depthwise(x)))
        return self.norm2(F.gelu(self.pointwise(x)))


@sound()
def convmixer() -> Case:
    stem = [nn.Conv2d(3, 24, 4, 4), nn.GELU(), nn.BatchNorm2d(24)]
    return classify_images(nn.Sequential(*stem, *(ConvMixer() for _ in range(4)), *pool_head(24)))


class Mixer(nn.Module):
    """MLPs over tokens and over channels."""

    def __init__(self, tokens: int = 16, width: int = 24) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 96), nn.GELU(), nn.Linear(96, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Tokens(nn.Module):
    """(n, c, h, w) → (n, h·w, c)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class TokenMean(nn.Module):
    """The mean over all tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


@sound()
def mlp_mixer() -> Case:
    body = [Mixer() for _ in range(4)]
    head = [nn.LayerNorm(24), TokenMean(), nn.Linear(24, 5)]
    return classify_images(nn.Sequential(nn.Conv2d(3, 24, 4, 4), Tokens(), *body, *head))


class Inception(nn.Module):
    """Parallel kernels of different size."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, 8, size, padding=size // 2), nn.BatchNorm2d(8), nn.ReLU()
            )
            for size in (1, 3, 5)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


@sound()
def inception() -> Case:
    body = [Inception(3), nn.MaxPool2d(2), Inception(24), *pool_head(24)]
    return classify_images(nn.Sequential(*body))


class SpatialTransformer(nn.Module):
    """The localization's last layer is 0 with the bias of the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.locate = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(512, 32), nn.ReLU()
        )
        self.move = nn.Linear(32, 6)
        init.zeros_(self.move.weight)
        self.move.bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), *pool_head(16))

    def forward(self, x: Tensor) -> Tensor:
        theta = self.move(self.locate(x)).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return self.body(F.grid_sample(x, grid, align_corners=False))


@sound()
def spatial_transformer() -> Case:
    return classify_images(SpatialTransformer())


# --- one and three dimensions


class Temporal(nn.Module):
    """Dilated causal convolutions with weight normalization, residual."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, width, 1)
        self.convs = nn.ModuleList(
            parametrizations.weight_norm(nn.Conv1d(width, width, 3, dilation=2**i))
            for i in range(4)
        )
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index, conv in enumerate(self.convs):
            x = x + torch.relu(conv(F.pad(x, (2 * 2**index, 0))))
        return self.head(x[..., -1])


class WaveNet(nn.Module):
    """Gated convolutions; the skips are summed."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv1d(4, width, 1), nn.Linear(width, 5)
        self.gated = nn.ModuleList(
            nn.Conv1d(width, 2 * width, 3, dilation=2**i, padding=2**i) for i in range(4)
        )
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(4))
        self.residuals = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.stem(x), torch.zeros(())
        for gated, skip, residual in zip(self.gated, self.skips, self.residuals, strict=True):
            signal, gate = gated(x).chunk(2, 1)
            y = torch.tanh(signal) * torch.sigmoid(gate)
            x, total = (x + residual(y)) * math.sqrt(0.5), total + skip(y)
        return self.head(torch.relu(total).mean(-1))


def classify_signals(model: nn.Module) -> Case:
    """Four channels of 32 steps."""
    x = F.interpolate(torch.randn(16, 4, 8), size=32, mode="linear")
    return Case(model, x, draw_classes(x, 5))


@sound()
def temporal_convolution() -> Case:
    return classify_signals(Temporal())


@sound(rate=1e-2)
def wavenet() -> Case:
    return classify_signals(WaveNet())


@sound()
def cnn_1d() -> Case:
    layers: list[nn.Module] = [nn.Conv1d(4, 16, 7, 2, 3), nn.BatchNorm1d(16), nn.ReLU()]
    layers += [nn.Conv1d(16, 32, 5, 2, 2), nn.BatchNorm1d(32), nn.ReLU()]
    layers += [nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(32, 5)]
    return classify_signals(nn.Sequential(*layers))


@sound()
def cnn_3d() -> Case:
    layers: list[nn.Module] = [nn.Conv3d(1, 8, 3, 2, 1), nn.BatchNorm3d(8), nn.ReLU()]
    layers += [nn.Conv3d(8, 16, 3, 2, 1), nn.BatchNorm3d(16), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 1)]
    x = torch.randn(8, 1, 8, 8, 8)
    return Case(nn.Sequential(*layers), x, draw_values(x))
