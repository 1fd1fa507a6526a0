"""Bugs in the data, the loss, the mask or the wiring of a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from audit_faults.bug import BugList, alter
from sound_models.entry import Case, draw_classes, draw_images, draw_tokens
from sound_models.plain import classify, fill_weights, he, regress, stack
from torch import Tensor, nn
from torch.nn import init

LIST = BugList()
add = LIST.add


def make_classifier() -> Case:
    """Two hidden layers, logits."""
    return classify(fill_weights(stack([12, 48, 48, 4], nn.ReLU), he))


def make_regressor() -> Case:
    """Two hidden layers, one number."""
    return regress(fill_weights(stack([12, 48, 48, 1], nn.ReLU), he))


def follow(make: Callable[[], Case], *last: nn.Module) -> Callable[[], Case]:
    """More modules behind a Sequential."""

    def followed() -> Case:
        case = make()
        assert isinstance(case.model, nn.Sequential)
        return replace(case, model=nn.Sequential(*case.model, *last))

    return followed


def stretch(make: Callable[[], Case], size: float, shift: float) -> Callable[[], Case]:
    """Another unit of the target."""

    def stretched() -> Case:
        case = make()
        return replace(case, target=size * case.target + shift)

    return stretched


# --- output, loss and target

add(
    "softmax_before_cross_entropy",
    follow(make_classifier, nn.Softmax(-1)),
    make_classifier,
    "F039",
    r"output loss 5",
    "the question of every forum",
)


def make_binary(*last: nn.Module, loss: nn.Module) -> Case:
    """Labels 0 and 1."""
    case = classify(nn.Sequential(*fill_weights(stack([12, 48, 48, 1], nn.ReLU), he), *last), 12, 2)
    return Case(case.model, case.batch, case.target[:, None].float(), loss)


add(
    "sigmoid_before_logits_loss",
    lambda: make_binary(nn.Sigmoid(), loss=nn.BCEWithLogitsLoss()),
    lambda: make_binary(loss=nn.BCEWithLogitsLoss()),
    "F039",
    r"output loss 5",
)
add(
    "softmax_over_one_unit",
    lambda: make_binary(nn.Softmax(-1), loss=nn.BCELoss()),
    lambda: make_binary(nn.Sigmoid(), loss=nn.BCELoss()),
    "F041",
    r"output loss 5 4(\.weight)?",
)


def classify_likelihood(*last: nn.Module) -> Case:
    """Log-probabilities are expected."""
    case = follow(make_classifier, *last)()
    return replace(case, loss=nn.NLLLoss())


add(
    "likelihood_of_logits",
    classify_likelihood,
    lambda: classify_likelihood(nn.LogSoftmax(-1)),
    "F039",
    r"output loss 4(\.weight)?",
)
add(
    "relu_before_binary_logits",
    lambda: make_binary(nn.ReLU(), loss=nn.BCEWithLogitsLoss()),
    lambda: make_binary(loss=nn.BCEWithLogitsLoss()),
    "F039",
    r"output loss 5",
)
add(
    "sigmoid_for_large_targets",
    stretch(follow(make_regressor, nn.Sigmoid()), 3.0, 5.0),
    make_regressor,
    "F040 F039",
    r"output target loss 5",
)
add(
    "relu_output_for_signed_targets",
    follow(make_regressor, nn.ReLU()),
    make_regressor,
    "F040 F039",
    r"output target loss 5",
)
add(
    "tanh_output_for_raw_targets",
    stretch(follow(make_regressor, nn.Tanh()), 30.0, 100.0),
    follow(lambda: squeeze_target(make_regressor()), nn.Tanh()),
    "F040",
    r"output target loss 5",
)


def squeeze_target(case: Case) -> Case:
    """Into (-1, 1)."""
    return replace(case, target=0.8 * torch.tanh(case.target))


add(
    "targets_in_the_thousands",
    stretch(make_regressor, 800.0, 3000.0),
    make_regressor,
    "F043",
    r"target output loss 4(\.weight|\.bias)?",
)


def classify_pixels(scaled: bool) -> Case:
    """Images from 0 to 255, or standardized."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1)]
    layers += [nn.ReLU(), nn.Flatten(), nn.Linear(512, 5)]
    x = draw_images(16)
    y = draw_classes(x, 5)
    model = fill_weights(nn.Sequential(*layers), he)
    return Case(model, x if scaled else (64 * x + 128).round().clamp(0, 255), y)


add(
    "raw_pixels",
    partial(classify_pixels, False),
    partial(classify_pixels, True),
    "F042",
    r"input",
)


def scale_features(case: Case) -> None:
    """Columns in units from 1e-3 to 1e4."""
    case.batch.mul_(torch.logspace(-3, 4, case.batch.shape[1]))


add(
    "features_of_unlike_units",
    alter(make_classifier, scale_features),
    make_classifier,
    "F042",
    r"input",
)


def lose_a_number(case: Case) -> None:
    """A missing value."""
    case.batch[3, 5] = math.nan


add(
    "input_not_a_number",
    alter(make_classifier, lose_a_number),
    make_classifier,
    "F001",
    r"input",
)

# --- what does not train


class Extra(nn.Module):
    """A classifier whose last block may be left out of the forward pass."""

    def __init__(self, used: bool) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(12, 48), nn.Linear(48, 4)
        self.extra, self.used = nn.Linear(48, 48), used
        fill_weights(self, he)

    def forward(self, x: Tensor) -> Tensor:
        """With or without it."""
        x = torch.relu(self.first(x))
        if self.used:
            x = torch.relu(self.extra(x))
        return self.head(x)


add(
    "layer_outside_the_graph",
    lambda: classify(Extra(False)),
    lambda: classify(Extra(True)),
    "F021 F023",
    r"extra(\.weight|\.bias)?",
)


class Cut(nn.Module):
    """A classifier that may take its features as numbers."""

    def __init__(self, detached: bool) -> None:
        super().__init__()
        self.trunk, self.head = stack([12, 48, 48], nn.ReLU), nn.Linear(48, 4)
        self.detached = detached

    def forward(self, x: Tensor) -> Tensor:
        """With or without the history of the features."""
        x = torch.relu(self.trunk(x))
        return self.head(x.detach() if self.detached else x)


add(
    "gradient_cut_by_detach",
    lambda: classify(Cut(True)),
    lambda: classify(Cut(False)),
    "F021 F023",
    r"trunk.*",
)


def freeze_one(case: Case) -> None:
    """One of four equal layers."""
    case.model.get_submodule("4").requires_grad_(False)


add(
    "frozen_layer_among_siblings",
    alter(lambda: classify(fill_weights(stack([12, *[48] * 5, 4], nn.ReLU), he)), freeze_one),
    lambda: classify(fill_weights(stack([12, *[48] * 5, 4], nn.ReLU), he)),
    "F022",
    r"4(\.weight|\.bias)?",
)


def make_dropout(share: float) -> Case:
    """Dropout in the middle; somebody read p as the share that is kept."""
    layers = [nn.Linear(12, 48), nn.ReLU(), nn.Dropout(share), nn.Linear(48, 4)]
    return classify(fill_weights(nn.Sequential(*layers), he))


add(
    "dropout_of_one",
    partial(make_dropout, 1.0),
    partial(make_dropout, 0.2),
    "F047",
    r"2",
)


class TwoZeros(nn.Module):
    """Residual branches with a zero gate; a zero last layer on top leaves no gradient."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(12, 32), nn.Linear(32, 4)
        self.branches = nn.ModuleList(stack([32, 32, 32], nn.ReLU) for _ in range(3))
        self.gates = nn.Parameter(torch.zeros(3))
        if twice:
            for branch in self.branches:
                init.zeros_(branch[2].weight)
                init.zeros_(branch[2].bias)

    def forward(self, x: Tensor) -> Tensor:
        """x + gate · branch(x)."""
        x = self.stem(x)
        for gate, branch in zip(self.gates, self.branches, strict=True):
            x = x + gate * branch(x)
        return self.head(x)


add(
    "zero_gate_and_zero_branch",
    lambda: classify(TwoZeros(True)),
    lambda: classify(TwoZeros(False)),
    "F023",
    r"branches.* gates",
    "methods.md E15",
)

# --- samples that meet


class Heads(nn.Module):
    """Multi-head attention; the heads may be folded into the batch without a transpose."""

    def __init__(self, right: bool) -> None:
        super().__init__()
        self.right, self.embed, self.head = right, nn.Linear(6, 32), nn.Linear(32, 5)
        self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """The mean over all steps, classified."""
        x = self.embed(x)
        made = [self.split(layer(x)) for layer in (self.query, self.key, self.value)]
        y = F.scaled_dot_product_attention(*made)
        y = y.transpose(1, 2).flatten(2) if self.right else y.reshape(x.shape)
        return self.head((x + y).mean(1))

    def split(self, x: Tensor) -> Tensor:
        """Into four heads."""
        if self.right:
            return x.unflatten(-1, (4, 8)).transpose(1, 2)
        return x.reshape(x.shape[1], len(x), 4, 8).transpose(1, 2)


def classify_steps(model: nn.Module) -> Case:
    """Sequences with labels."""
    x = torch.randn(12, 10, 6)
    return Case(model, x, draw_classes(x, 5))


add(
    "heads_reshaped_over_samples",
    lambda: classify_steps(Heads(False)),
    lambda: classify_steps(Heads(True)),
    "F044",
    r".*",
)


class Series(nn.Module):
    """An LSTM that may take samples for steps."""

    def __init__(self, right: bool) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(6, 24, batch_first=right), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        """The last step, classified."""
        return self.head(self.layer(x)[0][:, -1])


add(
    "samples_taken_for_steps",
    lambda: classify_steps(Series(False)),
    lambda: classify_steps(Series(True)),
    "F044",
    r".*",
)


class Normalized(nn.Module):
    """Features that are divided over the wrong axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis, self.first, self.head = axis, nn.Linear(12, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        """A softmax over features, or over samples."""
        gate = torch.softmax(self.first(x), dim=self.axis)
        return self.head(32 * gate * torch.relu(self.first(x)))


add(
    "softmax_over_samples",
    lambda: classify(Normalized(0)),
    lambda: classify(Normalized(1)),
    "F044",
    r".*",
)

# --- masks

STEPS = 10


class Masked(nn.Module):
    """A causal language model that makes its own mask."""

    def __init__(self, mask: Callable[[], Tensor], value: float, scale: float = 1.0) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(29, 32), nn.Embedding(STEPS, 32)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(3))
        self.projections = nn.ModuleList(nn.Linear(32, 96) for _ in range(2))
        self.outs = nn.ModuleList(nn.Linear(32, 32) for _ in range(2))
        self.head, self.value, self.scale = nn.Linear(32, 29), value, scale
        self.register_buffer("hidden", mask())
        for table in (self.tokens, self.positions):
            init.normal_(table.weight, std=0.3)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits at each step."""
        x = self.tokens(tokens) + self.positions.weight
        for norm, projection, out in zip(self.norms, self.projections, self.outs, strict=False):
            q, k, v = projection(norm(x)).chunk(3, -1)
            scores = self.scale * q @ k.transpose(1, 2) / math.sqrt(32)
            weights = scores.masked_fill(self.hidden, self.value).softmax(-1)
            x = x + out(weights @ v)
        return self.head(self.norms[-1](x))


def model_tokens(mask: Callable[[], Tensor], value: float = -1e9, scale: float = 1.0) -> Case:
    """The next token."""
    tokens = draw_tokens(8, STEPS + 1, 29)
    return Case(Masked(mask, value, scale), tokens[:, :-1], tokens[:, 1:].contiguous())


def hide_future(diagonal: int = 1) -> Tensor:
    """True where a key may not be seen."""
    return torch.ones(STEPS, STEPS).triu(diagonal).bool()


def hide_past() -> Tensor:
    """The mask the wrong way round: of the last query everything is hidden."""
    return ~hide_future()


def hide_all() -> Tensor:
    """Everything."""
    return torch.ones(STEPS, STEPS).bool()


class TorchEncoder(nn.Module):
    """An encoder of torch's own layers with a mask that is added to the scores."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.embed = nn.Embedding(29, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.encoder, self.head = layer, nn.Linear(32, 29)
        self.register_buffer("mask", torch.zeros(STEPS, STEPS).masked_fill(mask, -math.inf))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(tokens), src_mask=self.mask)).transpose(1, 2)


def encode_tokens(mask: Callable[[], Tensor]) -> Case:
    """The next token, by torch's own layer."""
    tokens = draw_tokens(8, STEPS + 1, 29)
    inputs, targets = tokens[:, :-1], tokens[:, 1:].contiguous()
    return Case(TorchEncoder(mask()), inputs, targets, nn.CrossEntropyLoss())


add(
    "mask_of_torch_attention_hides_everything",
    partial(encode_tokens, hide_all),
    partial(encode_tokens, hide_future),
    "F046",
    r"encoder\.self_attn",
)
add(
    "mask_of_torch_attention_leaks",
    partial(encode_tokens, partial(hide_future, 2)),
    partial(encode_tokens, hide_future),
    "F045",
    r".*",
)
sound_mask = partial(model_tokens, hide_future)
add(
    "causal_mask_off_by_one",
    partial(model_tokens, partial(hide_future, 2)),
    sound_mask,
    "F045",
    r".*",
)
add(
    "causal_mask_inverted",
    partial(model_tokens, hide_past),
    sound_mask,
    "F045 F046",
    r".*",
)
add(
    "mask_hides_everything",
    partial(model_tokens, hide_all),
    sound_mask,
    "F046",
    r".*",
)
add(
    "mask_hides_everything_infinite",
    partial(model_tokens, hide_all, -math.inf),
    partial(model_tokens, hide_future, -math.inf),
    "F046 F001",
    r".*",
)
add(
    "attention_saturated",
    partial(model_tokens, hide_future, -1e9, 400.0),
    sound_mask,
    "F049",
    r".*",
)


# --- parameters that no optimizer is given


class ListedLayers(nn.Module):
    """Layers in a list of Python, which the model does not look into; or in one of torch."""

    def __init__(self, hold: Callable[[list[nn.Module]], object]) -> None:
        super().__init__()
        self.layers = hold([nn.Linear(12, 48), nn.Linear(48, 48)])
        self.head = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:  # type: ignore[attr-defined]
            x = torch.relu(layer(x))
        return self.head(x)


class FreshLayer(nn.Module):
    """A layer that is made at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(12, 48), nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(nn.Linear(48, 48)(torch.relu(self.first(x)))))


add(
    "layers_in_a_list",
    lambda: classify(ListedLayers(list)),
    lambda: classify(ListedLayers(nn.ModuleList)),
    "F052",
    r"layers",
)
add("layer_made_in_forward", lambda: classify(FreshLayer()), make_classifier, "F052", r".*")
