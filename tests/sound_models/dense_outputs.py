"""Images to images, detection heads, generators and critics, diffusion."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from sound_models.convolutional import group_norm
from sound_models.entry import Case, add, draw_classes, draw_images, sound
from sound_models.plain import fill_weights, he
from torch import Tensor, nn
from torch.nn import init
from torch.nn.utils import parametrizations


def make_pair(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    """Two convolutions with normalization and ReLU."""
    make = {"batch": nn.BatchNorm2d, "group": group_norm, "instance": nn.InstanceNorm2d}[norm]
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1), make(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Two scales with skips, up by transposed convolution or by interpolation."""

    def __init__(self, norm: str, transposed: bool, classes: int = 3) -> None:
        super().__init__()
        self.down1, self.down2 = make_pair(3, 16, norm), make_pair(16, 32, norm)
        self.middle = make_pair(32, 64, norm)
        self.transposed = transposed
        self.wide = nn.ConvTranspose2d(64, 32, 2, 2) if transposed else nn.Conv2d(64, 32, 1)
        self.narrow = nn.ConvTranspose2d(32, 16, 2, 2) if transposed else nn.Conv2d(32, 16, 1)
        self.up2, self.up1 = make_pair(64, 32, norm), make_pair(32, 16, norm)
        self.head = nn.Conv2d(16, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.middle(F.max_pool2d(second, 2))
        x = self.up2(torch.cat([self.grow(x, self.wide), second], 1))
        return self.head(self.up1(torch.cat([self.grow(x, self.narrow), first], 1)))

    def grow(self, x: Tensor, layer: nn.Module) -> Tensor:
        """Twice the size."""
        if not self.transposed:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        return layer(x)


def segment(model: nn.Module) -> Case:
    """A class for each pixel."""
    x = draw_images(6)
    return Case(model, x, (x.mean(1) > 0).long() + (x[:, 0] > 1).long(), F.cross_entropy)


add("unet_batch_norm", partial(lambda: segment(UNet("batch", True))))
add("unet_group_norm", partial(lambda: segment(UNet("group", False))))
add("unet_instance_norm", partial(lambda: segment(UNet("instance", True))))


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling, and bilinear growth."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24))
        self.branches = nn.ModuleList(
            nn.Conv2d(24, 8, 3, padding=rate, dilation=rate, bias=False) for rate in (1, 2, 3)
        )
        self.join = nn.Sequential(nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.stem(x))
        y = self.join(torch.cat([branch(y) for branch in self.branches], 1))
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


@sound(rate=1e-2)
def deeplab() -> Case:
    return segment(Pyramid())


class SuperResolution(nn.Module):
    """EDSR: residual branches times 0.1, pixel shuffle."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem, self.tail = nn.Conv2d(3, width, 3, 1, 1), nn.Conv2d(width, 3, 3, 1, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1)
            )
            for _ in range(4)
        )
        self.grow = nn.Sequential(nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        x = y = self.stem(x)
        for block in self.blocks:
            y = y + 0.1 * block(y)
        return self.tail(self.grow(x + y))


@sound()
def super_resolution() -> Case:
    x = draw_images(6, 3, 8)
    return Case(SuperResolution(), x, F.interpolate(x, scale_factor=2, mode="bicubic"))


class Denoiser(nn.Module):
    """DnCNN: what is predicted is the noise, which is taken off."""

    def __init__(self, width: int = 24, depth: int = 5) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1), nn.ReLU()]
        for _ in range(depth):
            conv = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.body(x)


@sound()
def denoiser() -> Case:
    clean = draw_images(6)
    return Case(Denoiser(), clean + 0.3 * torch.randn_like(clean), clean)


@sound()
def autoencoder_convolutional() -> Case:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1)]
    layers += [nn.ReLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU()]
    layers += [nn.ConvTranspose2d(16, 3, 4, 2, 1)]
    x = draw_images(8)
    return Case(nn.Sequential(*layers), x, x.clone())


class Quantized(nn.Module):
    """VQ-VAE: the nearest of 16 codes, straight through; the codes start at encoded places."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, width, 3, 1, 1)
        )
        self.codes = nn.Embedding(16, width)
        self.decoder = nn.Sequential(
            nn.Conv2d(width, 16, 3, 1, 1), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x)
        flat = z.movedim(1, -1)
        nearest = torch.cdist(flat.flatten(0, -2), self.codes.weight).argmin(-1)
        code = self.codes(nearest).view(flat.shape).movedim(-1, 1)
        commitment = F.mse_loss(code, z.detach()) + 0.25 * F.mse_loss(z, code.detach())
        return self.decoder(z + (code - z).detach()), commitment


@sound(rate=3e-4)
def vector_quantized() -> Case:
    def loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        return F.mse_loss(output[0], target) + output[1]

    x, model = draw_images(8), Quantized()
    with torch.no_grad():
        places = model.encoder(x).movedim(1, -1).flatten(0, -2)
        model.codes.weight.copy_(places[torch.randperm(len(places))[:16]])
    return Case(model, x, x.clone(), loss)


# --- detection


class Retina(nn.Module):
    """Two shared heads; the bias of the classes is the logit of 0.01, weights N(0, 0.01)."""

    def __init__(self, prior: float = 0.01, classes: int = 4) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, 1, 1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
        )
        self.tower = nn.Sequential(nn.Conv2d(24, 24, 3, 1, 1), nn.ReLU())
        self.classes, self.boxes = nn.Conv2d(24, classes, 3, 1, 1), nn.Conv2d(24, 4, 3, 1, 1)
        for layer in (self.tower[0], self.classes, self.boxes):
            init.normal_(layer.weight, std=0.01)
            init.zeros_(layer.bias)
        init.constant_(self.classes.bias, -math.log((1 - prior) / prior))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.tower(self.trunk(x))
        return {"classes": self.classes(y), "boxes": self.boxes(y)}


def take_focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss with γ = 2 and α = 0.25, over the number of positives."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = torch.sigmoid(logits) * (1 - target) + (1 - torch.sigmoid(logits)) * target
    weight = 0.25 * target + 0.75 * (1 - target)
    return (weight * wrong.square() * entropy).sum() / target.sum()


def detect(focal: bool) -> Case:
    """About 1 % of the places hold an object."""
    x = draw_images(6)
    target = (torch.rand(6, 4, 8, 8) < 0.01).float()
    target[0, 0, 0, 0] = 1

    def loss(output: dict[str, Tensor], target: Tensor) -> Tensor:
        logits = output["classes"]
        if focal:
            entropy = take_focal(logits, target)
        else:
            entropy = F.binary_cross_entropy_with_logits(logits, target)
        return entropy + 0.1 * output["boxes"].square().mean()

    return Case(Retina(), x, target, loss)


add("retinanet_focal", partial(detect, True))
add("retinanet_cross_entropy", partial(detect, False))


class RareLogits(nn.Sequential):
    """One logit per sample, with the bias of a prior of 1 %."""


@sound()
def prior_bias_binary() -> Case:
    model = RareLogits(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 1))
    init.normal_(model[2].weight, std=0.01)
    init.constant_(model[2].bias, -4.6)
    x = torch.randn(256, 12)
    target = (x[:, :1] > 2.2).float()
    return Case(model, x, target, nn.BCEWithLogitsLoss())


# --- generators and critics


def start_dcgan(model: nn.Module) -> nn.Module:
    """Radford et al. 2016: convolutions N(0, 0.02), scales of norms N(1, 0.02)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            init.normal_(module.weight, 1.0, 0.02)
    return model


@sound()
def gan_generator() -> Case:
    layers: list[nn.Module] = [nn.ConvTranspose2d(16, 48, 4, 1, 0, bias=False)]
    layers += [nn.BatchNorm2d(48), nn.ReLU(True), nn.ConvTranspose2d(48, 24, 4, 2, 1, bias=False)]
    layers += [nn.BatchNorm2d(24), nn.ReLU(True), nn.ConvTranspose2d(24, 3, 4, 2, 1, bias=False)]
    model = start_dcgan(nn.Sequential(*layers, nn.Tanh()))
    return Case(model, torch.randn(16, 16, 1, 1), torch.tanh(draw_images(16)))


@sound()
def gan_critic() -> Case:
    layers: list[nn.Module] = [nn.Conv2d(3, 24, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(24, 48, 4, 2, 1, bias=False), nn.BatchNorm2d(48), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(48, 1, 4, bias=False), nn.Flatten()]
    x = draw_images(16)
    target = draw_classes(x, 2)[:, None].float()
    return Case(start_dcgan(nn.Sequential(*layers)), x, target, nn.BCEWithLogitsLoss())


@sound()
def gan_critic_spectral() -> Case:
    norm = parametrizations.spectral_norm
    layers: list[nn.Module] = [norm(nn.Conv2d(3, 24, 4, 2, 1)), nn.LeakyReLU(0.2)]
    layers += [norm(nn.Conv2d(24, 48, 4, 2, 1)), nn.LeakyReLU(0.2), nn.Flatten()]
    x = draw_images(16)
    target = 2.0 * draw_classes(x, 2)[:, None] - 1
    model = nn.Sequential(*layers, norm(nn.Linear(768, 1)))
    return Case(model, x, target, lambda o, t: F.relu(1 - o * t).mean())


@sound()
def style_transfer() -> Case:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1), nn.InstanceNorm2d(16, affine=True)]
    layers += [nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.InstanceNorm2d(16, affine=True)]
    layers += [nn.ReLU(), nn.Conv2d(16, 3, 3, 1, 1)]
    x = draw_images(6)
    return Case(fill_weights(nn.Sequential(*layers), he), x, x.flip(1))


# --- diffusion


def embed_time(t: Tensor, width: int) -> Tensor:
    """Sines and cosines of a time in [0, 1000)."""
    frequencies = torch.exp(-math.log(1e4) * torch.arange(width // 2) / (width // 2))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1)


class TimeBlock(nn.Module):
    """Norm, conv, time, norm, zero conv, residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(4, width), nn.GroupNorm(4, width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))
        self.time = nn.Linear(32, width)
        init.zeros_(self.conv2.weight)
        init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x))) + self.time(time)[:, :, None, None]
        return x + self.conv2(F.silu(self.norm2(y)))


class Diffusion(nn.Module):
    """Predicts noise from a noisy image and its time; the last convolution is 0."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU())
        self.stem = nn.Conv2d(3, width, 3, 1, 1)
        self.blocks = nn.ModuleList(TimeBlock(width) for _ in range(4))
        self.norm, self.last = nn.GroupNorm(4, width), nn.Conv2d(width, 3, 3, 1, 1)
        init.zeros_(self.last.weight)
        init.zeros_(self.last.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time, x = self.time(embed_time(t, 32)), self.stem(x)
        for block in self.blocks:
            x = block(x, time)
        return self.last(F.silu(self.norm(x)))


def draw_noisy(samples: int = 8, side: int = 16) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """((noisy images, times), the noise)."""
    clean, t = draw_images(samples, 3, side), torch.randint(1000, (samples,))
    kept = torch.cos(t / 1000 * math.pi / 2)[:, None, None, None]
    noise = torch.randn_like(clean)
    return (kept * clean + (1 - kept.square()).sqrt() * noise, t), noise


@sound()
def diffusion() -> Case:
    return Case(Diffusion(), *draw_noisy())


class Controlled(nn.Module):
    """ControlNet: a frozen network, a trainable copy of its stem, zero convolutions between."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Diffusion()
        for layer in (self.base.last, *(block.conv2 for block in self.base.blocks)):
            init.normal_(layer.weight, std=0.05)
        self.base.requires_grad_(False)
        self.hint = nn.Conv2d(1, 24, 3, 1, 1)
        self.control = nn.ModuleList(TimeBlock(24) for _ in range(2))
        for index, block in enumerate(self.control):
            block.load_state_dict(self.base.blocks[index].state_dict())
        self.zeros = nn.ModuleList(nn.Conv2d(24, 24, 1) for _ in range(3))
        for layer in self.zeros:
            init.zeros_(layer.weight)
            init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor, hint: Tensor) -> Tensor:
        base, time = self.base, self.base.time(embed_time(t, 32))
        x = base.stem(x)
        y, extra = x + self.zeros[0](self.hint(hint)), []
        for block, zero in zip(self.control, self.zeros[1:], strict=True):
            y = block(y, time)
            extra.append(zero(y))
        for index, block in enumerate(base.blocks):
            x = block(x, time) + (extra[index] if index < 2 else 0)
        return base.last(F.silu(base.norm(x)))


@sound(rate=1e-2)
def controlnet() -> Case:
    (x, t), noise = draw_noisy()
    return Case(Controlled(), (x, t, noise[:, :1]), noise)
