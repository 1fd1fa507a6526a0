"""Bugs in how weights are drawn, loaded or left alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from audit_faults.bug import BugList, alter
from sound_models.attention import Language, Style, model_language
from sound_models.dense_outputs import prior_bias_binary
from sound_models.entry import Case, draw_classes, draw_images
from sound_models.plain import classify, fill_weights, he, lecun, stack
from sound_models.recurrent import Last as LastStep
from sound_models.recurrent import classify_series, rnn, start_recurrent
from sound_models.relations import lora
from torch import Tensor, nn
from torch.nn import init

LIST = BugList()
add = LIST.add


def change_weights(pattern: str, change: Callable[[Tensor], object]) -> Callable[[Case], None]:
    """Change the parameters whose name contains the text."""

    def apply(case: Case) -> None:
        with torch.no_grad():
            for name, parameter in case.model.named_parameters():
                if pattern in name:
                    change(parameter)

    return apply


# --- transformers

DEEP = Style(depth=12)
GATED = Style(depth=8, rms=True, hidden="swiglu", position="rotary", tied=False)
EXPERTS = Style(depth=6, rms=True, hidden="swiglu", experts=4, position="rotary", tied=False)


add(
    "gpt2_projections_never_scaled",
    partial(model_language, Style(depth=12, scaled=False)),
    partial(model_language, DEEP),
    "F029 F012",
    r"blocks\.\d+\.(attention\.out|feed\.down)(\.weight)?",
    "transformers #47458",
)
add(
    "up_projection_scaled_too",
    alter(
        partial(model_language, GATED), change_weights("feed.up.weight", lambda w: w.mul_(1 / 4))
    ),
    partial(model_language, GATED),
    "F030",
    r"blocks\.\d+\.feed\.up(\.weight)?",
    "torchtitan #3334",
)


def scale_up_instead(case: Case) -> None:
    """The depth scale on w3 instead of w2."""
    change_weights("feed.up.weight", lambda w: w.mul_(1 / 4))(case)
    change_weights("feed.down.weight", lambda w: w.mul_(4))(case)


add(
    "up_projection_scaled_instead",
    alter(partial(model_language, GATED), scale_up_instead),
    partial(model_language, GATED),
    "F030 F029",
    r"blocks\.\d+\.feed\.(up|down)(\.weight)?",
    "llama2.c #579",
)
add(
    "gate_scaled_by_name",
    alter(
        partial(model_language, GATED), change_weights("feed.gate.weight", lambda w: w.mul_(1 / 4))
    ),
    partial(model_language, GATED),
    "F030",
    r"blocks\.\d+\.feed\.gate(\.weight)?",
    "Modalities #168",
)
add(
    "router_scaled",
    alter(
        partial(model_language, EXPERTS), change_weights("router.weight", lambda w: w.mul_(0.29))
    ),
    partial(model_language, EXPERTS),
    "F030",
    r"blocks\.\d+\.feed\.router(\.weight)?",
    "OLMo-core init.py",
)
add(
    "tied_embedding_standard_normal",
    alter(partial(model_language, Style()), change_weights("tokens.weight", init.normal_)),
    partial(model_language, Style()),
    "F033 F032 F037 F031",
    r"tokens(\.weight)? head(\.weight)? output loss",
    "transformers PR #26441, CoursIA #13279",
)
add(
    "layer_norm_from_normal",
    alter(
        partial(model_language, Style()),
        change_weights("norm", lambda p: p.normal_(0.0, 0.02)),
    ),
    partial(model_language, Style()),
    "F035",
    r"(blocks\.\d+\.)?norm\d?(\.weight)?",
    "transformers #143",
)
add(
    "new_vocabulary_rows_zero",
    alter(
        partial(model_language, Style(tied=False)),
        change_weights("tokens.weight", lambda w: w[-6:].zero_()),
    ),
    partial(model_language, Style(tied=False)),
    "F016 F017",
    r"tokens(\.weight)?",
    "LlamaFactory PR #10547",
)


def leave_memory(rows: Tensor) -> None:
    """What torch.empty may show: bits of something else."""
    bits = torch.randint(-(2**31), 2**31 - 1, rows.shape, dtype=torch.int64).int()
    garbage = bits.view(torch.float32)
    rows.copy_(torch.where(garbage.isfinite() & (garbage.abs() < 1e20), garbage, 0.0))


add(
    "new_vocabulary_rows_empty",
    alter(
        partial(model_language, Style(tied=False)),
        change_weights("tokens.weight", lambda w: leave_memory(w[-6:])),
    ),
    partial(model_language, Style(tied=False)),
    "F016 F017 F001",
    r"tokens(\.weight)?",
    "transformers PR #33325",
)


def draw_coarse(weight: Tensor) -> Tensor:
    """Drawn in bfloat16 around a mean of its own, then cast."""
    return weight.copy_(weight.to(torch.bfloat16).float())


add(
    "weights_drawn_in_bfloat16",
    alter(partial(model_language, Style(tied=False)), change_weights("weight", draw_coarse)),
    partial(model_language, Style(tied=False)),
    "F018",
    r".*",
    "NeMo Automodel PR #2450",
)


def reinitialize(case: Case) -> None:
    """What an _init_weights does that is called after loading."""
    assert isinstance(case.model, Language)
    for block in case.model.blocks[:2]:
        init.normal_(block.feed.up.weight, std=0.02)
        init.zeros_(block.feed.up.bias)


def take_weights(case: Case) -> dict[str, Tensor]:
    """What was loaded."""
    return {name: value.clone() for name, value in case.model.state_dict().items()}


def take_trained(case: Case) -> dict[str, Tensor]:
    """As `take_weights`, of a model whose weights are those of nobody's start."""
    return take_weights(case)


def as_if_loaded() -> Case:
    """A model whose norms and biases show that it was trained."""
    case = model_language(Style())
    with torch.no_grad():
        for parameter in case.model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return case


add(
    "loaded_weights_reinitialized",
    alter(as_if_loaded, reinitialize),
    as_if_loaded,
    "F019",
    r"blocks\.[01]\.feed\.up(\.weight|\.bias)?",
    "transformers #46620",
    take_trained,
)


def forget_to_load(case: Case) -> None:
    """Names that did not match: another start than the one that was saved."""
    assert isinstance(case.model, Language)
    fresh = model_language(Style()).model
    case.model.blocks[1].load_state_dict(fresh.blocks[1].state_dict())  # type: ignore[union-attr]


add(
    "weights_not_loaded",
    alter(as_if_loaded, forget_to_load),
    as_if_loaded,
    "F020 F019",
    r"blocks\.1\..*",
    "transformers #35437",
    take_trained,
)


class TorchStack(nn.Module):
    """nn.TransformerEncoder clones its layer."""

    def __init__(self, cloned: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, 32), nn.Linear(32, 5)
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        if not cloned:
            for one in self.encoder.layers:
                for weight in one.parameters():
                    if weight.dim() > 1:
                        rows = weight.split(32) if weight.shape[0] == 96 else (weight.data,)
                        for part in rows:
                            init.xavier_uniform_(part.data)

    def forward(self, x: Tensor) -> Tensor:
        """The mean over all steps, classified."""
        return self.head(self.encoder(self.embed(x)).mean(1))


def classify_sequences(model: nn.Module) -> Case:
    """Vectors with labels."""
    x = torch.randn(12, 10, 6)
    return Case(model, x, draw_classes(x, 5))


add(
    "identical_encoder_layers",
    lambda: classify_sequences(TorchStack(True)),
    lambda: classify_sequences(TorchStack(False)),
    "F014",
    r"encoder(\.layers.*)?",
    "pytorch #72253, #86274",
)


class TorchAttention(nn.Module):
    """nn.MultiheadAttention in residual blocks."""

    def __init__(self, packed: bool, depth: int = 4) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, 48), nn.Linear(48, 5)
        self.norms = nn.ModuleList(nn.LayerNorm(48) for _ in range(depth))
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(48, 4, batch_first=True) for _ in range(depth)
        )
        for attention in self.attentions:
            init.xavier_uniform_(attention.out_proj.weight)
            if not packed:
                for part in attention.in_proj_weight.data.split(48):
                    init.xavier_uniform_(part)

    def forward(self, x: Tensor) -> Tensor:
        """The mean over all steps, classified."""
        x = self.embed(x)
        for norm, attention in zip(self.norms, self.attentions, strict=True):
            y = norm(x)
            x = x + attention(y, y, y, need_weights=False)[0]
        return self.head(x.mean(1))


add(
    "packed_attention_xavier",
    lambda: classify_sequences(TorchAttention(True)),
    lambda: classify_sequences(TorchAttention(False)),
    "F026",
    r"attentions\.\d+(\.in_proj_weight)?",
    "pytorch #166378",
)

# --- recurrent


def start_packed(layer: nn.RNNBase) -> nn.RNNBase:
    """Orthogonal over all gates at once."""
    for name, weight in start_recurrent(layer, 4).named_parameters():
        if name.startswith("weight_hh"):
            init.orthogonal_(weight)
    return layer


add(
    "packed_lstm_orthogonal",
    lambda: classify_series(LastStep(start_packed(rnn(nn.LSTM)), 24)),
    lambda: classify_series(LastStep(start_recurrent(rnn(nn.LSTM), 4), 24)),
    "F027",
    r"layer(\.weight_hh_l0)?",
    "pytorch #750, allennlp PR #200",
)


def shut_forget(case: Case) -> None:
    """A forget gate that forgets everything."""
    bias = case.model.get_parameter("layer.bias_ih_l0")
    with torch.no_grad():
        bias.chunk(4)[1].fill_(-8.0)


add(
    "forget_gate_shut",
    alter(lambda: classify_series(LastStep(start_recurrent(rnn(nn.LSTM), 4), 24)), shut_forget),
    lambda: classify_series(LastStep(start_recurrent(rnn(nn.LSTM), 4), 24)),
    "F034",
    r"layer(\.bias_ih_l0)?",
    "pytorch #750",
)


def enlarge_recurrence(case: Case) -> None:
    """A recurrent weight that triples what it gets at each of twelve steps."""
    with torch.no_grad():
        case.model.get_parameter("layer.weight_hh_l0").mul_(3)


def make_recurrent_relu() -> Case:
    """An Elman network with ReLU."""
    layer = nn.RNN(6, 24, nonlinearity="relu", batch_first=True)
    return classify_series(LastStep(start_recurrent(layer, 1), 24))


add(
    "recurrent_relu_explodes",
    alter(make_recurrent_relu, enlarge_recurrence),
    make_recurrent_relu,
    "F005",
    r"layer(\.weight_hh_l0)?",
)

# --- convolutions


def make_separable(fan_out: bool) -> Case:
    """Depthwise and pointwise convolutions without normalization."""
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU()]
    for _ in range(5):
        layers += [nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.ReLU()]
        layers += [nn.Conv2d(32, 32, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))
    fill_weights(model, he)
    for module in model:
        if fan_out and isinstance(module, nn.Conv2d) and module.groups > 1:
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    x = draw_images(8)
    return Case(model, x, draw_classes(x, 5))


add(
    "depthwise_fan_out",
    partial(make_separable, True),
    partial(make_separable, False),
    "F025 F004 F010 F028",
    r"(2|6|10|14|18)(\.weight)?",
    "pytorch #23854, timm #84",
)


def make_convolutions(fill: Callable[[Tensor], object], depth: int = 8) -> Case:
    """Plain 3 × 3 convolutions."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Conv2d(24 if index else 3, 24, 3, 1, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5))
    x = draw_images(6)
    return Case(fill_weights(model, fill), x, draw_classes(x, 5))


def sum_fan(weight: Tensor) -> Tensor:
    """He with kh + kw in place of kh · kw."""
    if weight.dim() < 4:
        return he(weight)
    fan = weight.shape[1] + sum(weight.shape[2:])
    return init.normal_(weight, std=math.sqrt(2 / fan))


add(
    "fan_of_summed_kernel",
    partial(make_convolutions, sum_fan),
    partial(make_convolutions, he),
    "F025 F005 F028 F037",
    r"\d+(\.weight)?",
    "lczero-training PR #43",
)


def make_transposed(right: bool) -> Case:
    """A generator without normalization; torch counts fan-in on the wrong axis."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise([64, 32, 16, 8]):
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(8, 3, 3, 1, 1))
    fill_weights(model, he)
    for module in model:
        if right and isinstance(module, nn.ConvTranspose2d):
            fan = module.in_channels * 4  # of 16 taps a stride of 2 leaves 4
            init.normal_(module.weight, std=math.sqrt(2 / fan))
    x = torch.randn(8, 64, 2, 2)
    return Case(model, x, draw_images(8, 3, 16))


add(
    "fan_of_transposed_convolution",
    partial(make_transposed, False),
    partial(make_transposed, True),
    "F025 F028 F005 F037",
    r"[024](\.weight)? output",
    "pytorch PR #30079",
)


class FromInputs(nn.Module):
    """A weight stored as (in, out), as GPT-2's Conv1D."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """x W + b."""
        return x @ self.weight + self.bias


def make_stored(transposed: bool) -> Case:
    """He's start, which needs the transposed weight here."""
    sizes = [12, 36, 108, 324]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layer = FromInputs(inputs, outputs)
        he(layer.weight.data.T if transposed else layer.weight.data)
        layers += [layer, nn.ReLU()]
    return classify(nn.Sequential(*layers, nn.Linear(324, 4)))


add(
    "fan_of_transposed_layout",
    partial(make_stored, False),
    partial(make_stored, True),
    "F025 F028 F005 F004",
    r"\d+(\.weight)?",
    "pytorch #130122",
)

# --- layers that are alike, constant or copied


def same_seed(weight: Tensor) -> Tensor:
    """Each layer starts the generator anew."""
    generator = torch.Generator().manual_seed(0)
    return init.kaiming_normal_(weight, generator=generator)


add(
    "same_seed_for_each_layer",
    lambda: classify(fill_weights(stack([12, 40, 56, 40, 4], nn.ReLU), same_seed)),
    lambda: classify(fill_weights(stack([12, 40, 56, 40, 4], nn.ReLU), he)),
    "F015 F014",
    r"\d+(\.weight)?",
    "keras #15586, Modalities PR #426",
)
add(
    "same_seed_for_equal_layers",
    lambda: classify(fill_weights(stack([12, 40, 40, 40, 40, 4], nn.ReLU), same_seed)),
    lambda: classify(fill_weights(stack([12, 40, 40, 40, 40, 4], nn.ReLU), he)),
    "F014 F015",
    r"\d+(\.weight)?",
    "keras-hub #352",
)


def clone_experts() -> Case:
    """Experts that are copies of one network."""
    case = model_language(EXPERTS)
    assert isinstance(case.model, Language)
    for block in case.model.blocks:
        for expert in block.feed.experts[1:]:
            expert.load_state_dict(block.feed.experts[0].state_dict())
    return case


add(
    "identical_experts",
    clone_experts,
    partial(model_language, EXPERTS),
    "F014",
    r"blocks\.\d+\.feed(\.experts.*)?",
    "torchtune #2270",
)
add(
    "constant_weights",
    lambda: classify(
        fill_weights(stack([12, 32, 32, 4], nn.ReLU), partial(init.constant_, val=0.05))
    ),
    lambda: classify(fill_weights(stack([12, 32, 32, 4], nn.ReLU), he)),
    "F013",
    r"\d(\.weight)?",
    "DESIGN 1: constant",
)
add(
    "zero_weights",
    lambda: classify(fill_weights(stack([12, 32, 32, 4], nn.ReLU), init.zeros_)),
    lambda: classify(fill_weights(stack([12, 32, 32, 4], nn.ReLU), he)),
    "F023 F013 F011",
    r".*",
    "DESIGN 1: zero",
)
add(
    "low_rank_adapter_both_zero",
    alter(lora, change_weights("lora_A", init.zeros_)),
    lora,
    "F023",
    r"[024](\..*)?",
    "methods.md E15",
)


# --- what is never filled


class Transitions(nn.Module):
    """Scores of labels, with a matrix of transitions between steps."""

    def __init__(self, filled: bool) -> None:
        super().__init__()
        self.score = nn.Linear(6, 5)
        self.transitions = nn.Parameter(torch.empty(5, 5))
        init.uniform_(self.transitions, -0.1, 0.1)
        if not filled:
            with torch.no_grad():
                leave_memory(self.transitions)

    def forward(self, x: Tensor) -> Tensor:
        """The score of each label at each step, after the likeliest last label."""
        scores = self.score(x)
        before = F.pad(scores[:, :-1], (0, 0, 1, 0)).softmax(-1)
        return scores + before @ self.transitions


def label_steps(filled: bool) -> Case:
    """A label for each of ten steps."""
    x = torch.randn(16, 10, 6)
    return Case(Transitions(filled), x, draw_classes(x.flatten(0, 1), 5).view(16, 10))


add(
    "parameter_never_filled",
    partial(label_steps, False),
    partial(label_steps, True),
    "F016 F001 F017 F005",
    r"transitions",
    "pytorch-crf #1, CLIP #15",
)
add(
    "weight_not_a_number",
    alter(
        lambda: classify(fill_weights(stack([12, 32, 32, 4], nn.ReLU), he)),
        change_weights("2.weight", lambda w: w[0].fill_(math.nan)),
    ),
    lambda: classify(fill_weights(stack([12, 32, 32, 4], nn.ReLU), he)),
    "F001",
    r"2(\.weight)?",
)

# --- gains and depth


add(
    "deep_sigmoid",
    lambda: classify(stack([12, *[48] * 10, 4], nn.Sigmoid)),
    lambda: classify(fill_weights(stack([12, *[48] * 10, 4], nn.SELU), lecun)),
    "F006 F010 F008 F011",
    r".*",
    "the question of every forum",
)
add(
    "torch_default_in_deep_relu",
    lambda: classify(stack([12, *[48] * 20, 4], nn.ReLU)),
    lambda: classify(fill_weights(stack([12, *[48] * 20, 4], nn.ReLU), he)),
    "F004 F006 F010 F011 F008",
    r".*",
    "pytorch #18182, #10243",
)
add(
    "standard_normal_weights",
    lambda: classify(fill_weights(stack([12, *[64] * 5, 4], nn.ReLU), init.normal_)),
    lambda: classify(fill_weights(stack([12, *[64] * 5, 4], nn.ReLU), he)),
    "F005 F007 F037 F028",
    r".*",
)
add(
    "standard_normal_weights_tanh",
    lambda: classify(fill_weights(stack([12, *[64] * 5, 4], nn.Tanh), init.normal_)),
    lambda: classify(fill_weights(stack([12, *[64] * 5, 4], nn.Tanh), init.xavier_normal_)),
    "F003 F009 F028 F031 F037 F007",
    r".*",
)
add(
    "tiny_weights",
    lambda: classify(
        fill_weights(stack([12, *[64] * 6, 4], nn.ReLU), partial(init.normal_, std=0.01))
    ),
    lambda: classify(fill_weights(stack([12, *[64] * 6, 4], nn.ReLU), he)),
    "F004 F006 F010 F011",
    r".*",
)


class Deep(nn.Module):
    """Residual blocks without normalization."""

    def __init__(self, scaled: bool, depth: int = 24, width: int = 32) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(12, width), nn.Linear(width, 4)
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        fill_weights(self, he)
        lecun(self.head.weight)
        if scaled:
            with torch.no_grad():
                for layer in self.second:
                    layer.weight /= math.sqrt(depth)

    def forward(self, x: Tensor) -> Tensor:
        """All blocks, then the head."""
        x = self.stem(x)
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(torch.relu(first(x)))
        return self.head(x)


add(
    "residual_stream_explodes",
    lambda: classify(Deep(False)),
    lambda: classify(Deep(True)),
    "F012 F005 F029 F037 F007",
    r".*",
    "Zhang et al. 2019",
)


def enlarge_head(case: Case) -> None:
    """The last layer from N(0, 1) on many inputs."""
    assert isinstance(case.model, nn.Sequential)
    init.normal_(case.model[-1].weight, std=2.0)


add(
    "last_layer_too_large",
    alter(lambda: classify(fill_weights(stack([12, 64, 256, 4], nn.ReLU), he)), enlarge_head),
    lambda: classify(fill_weights(stack([12, 64, 256, 4], nn.ReLU), he)),
    "F031 F037",
    r"4(\.weight)? output loss",
)


def kill_units(case: Case) -> None:
    """Biases of -10 before a ReLU."""
    assert isinstance(case.model, nn.Sequential)
    init.constant_(case.model[2].bias, -10.0)


add(
    "dead_by_bias",
    alter(lambda: classify(fill_weights(stack([12, 64, 64, 4], nn.ReLU), he)), kill_units),
    lambda: classify(fill_weights(stack([12, 64, 64, 4], nn.ReLU), he)),
    "F002",
    r"2(\.bias)? 3",
)


def draw_rare(prior: bool) -> Case:
    """One sample in a hundred is positive."""
    case = prior_bias_binary()
    if not prior:
        init.zeros_(case.model[2].bias)  # type: ignore[index]
    return case


add(
    "no_bias_for_a_rare_class",
    partial(draw_rare, False),
    partial(draw_rare, True),
    "F038",
    r"2(\.bias)? output",
    "keras #20357, mmdetection #1825",
)
