"""Recurrent networks and state-space models."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from sound_models.entry import Case, add, draw_classes, draw_tokens, draw_values, sound
from torch import Tensor, nn
from torch.nn import init


class Last(nn.Module):
    """A recurrent layer, and a head on its last step."""

    def __init__(self, layer: nn.Module, width: int, outputs: int = 5) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


def classify_series(model: nn.Module) -> Case:
    """Twelve steps of six numbers."""
    x = torch.randn(16, 12, 6)
    return Case(model, x, draw_classes(x[:, -4:], 5))


def start_recurrent(layer: nn.RNNBase, gates: int, forget: bool = False) -> nn.RNNBase:
    """Xavier for inputs, orthogonal per gate for the states, biases 0, the forget gate's 1."""
    for name, weight in layer.named_parameters():
        if name.startswith("weight_ih"):
            for gate in weight.data.chunk(gates):
                init.xavier_uniform_(gate)
        elif name.startswith("weight_hh"):
            for gate in weight.data.chunk(gates):
                init.orthogonal_(gate)
        else:
            init.zeros_(weight)
            if forget and name.startswith("bias_ih"):
                weight.data.chunk(gates)[1].fill_(1.0)
    return layer


def add_recurrent() -> None:
    """Classifiers by the kind of their layer."""
    for name, make, width in (
        ("rnn_tanh_orthogonal", lambda: start_recurrent(rnn(nn.RNN), 1), 24),
        ("rnn_tanh_default", lambda: rnn(nn.RNN), 24),
        ("lstm_default", lambda: rnn(nn.LSTM), 24),
        ("lstm_forget_bias", lambda: start_recurrent(rnn(nn.LSTM), 4, forget=True), 24),
        ("lstm_bidirectional", lambda: rnn(nn.LSTM, bidirectional=True), 48),
        ("lstm_stacked", lambda: rnn(nn.LSTM, num_layers=2, dropout=0.2), 24),
        ("gru_default", lambda: rnn(nn.GRU), 24),
        ("gru_orthogonal", lambda: start_recurrent(rnn(nn.GRU), 3), 24),
        ("gru_stacked", lambda: rnn(nn.GRU, num_layers=3), 24),
    ):
        add(name, partial(make_recurrent, make, width), rate=1e-2)


def rnn(kind: type[nn.RNNBase], **options: object) -> nn.RNNBase:
    """Torch's own layer for six inputs."""
    return kind(6, 24, batch_first=True, **options)  # type: ignore[arg-type]


def make_recurrent(make, width: int) -> Case:  # type: ignore[no-untyped-def]
    """A classifier of series with this layer."""
    return classify_series(Last(make(), width))


add_recurrent()


class Irnn(nn.Module):
    """Le et al. 2015: ReLU with an identity as recurrent matrix."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.inputs, self.states = nn.Linear(6, width), nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, 5)
        init.normal_(self.inputs.weight, std=0.1)
        init.eye_(self.states.weight)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), self.states.in_features)
        for step in x.unbind(1):
            state = torch.relu(self.inputs(step) + self.states(state))
        return self.head(state)


@sound()
def irnn() -> Case:
    return classify_series(Irnn())


class Cells(nn.Module):
    """A loop over nn.GRUCell, with a head at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(3, 24), nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = x.new_zeros(len(x), 24), []
        for step in x.unbind(1):
            state = self.cell(step, state)
            outputs.append(self.head(state))
        return torch.stack(outputs, 1)


@sound(rate=1e-2)
def gru_cells() -> Case:
    x = torch.randn(16, 10, 3)
    return Case(Cells(), x, torch.tanh(x.cumsum(1)[..., :1]))


@sound(rate=1e-2)
def lstm_forecast() -> Case:
    start = 6 * torch.rand(32, 1)
    series = torch.sin(start + 0.5 * torch.arange(13))[..., None]
    return Case(Last(nn.LSTM(1, 32, batch_first=True), 32, 1), series[:, :-1], series[:, -1])


class LanguageLstm(nn.Module):
    """Tokens → logits; the head may be the embedding."""

    def __init__(self, tied: bool, vocabulary: int = 23, width: int = 24) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(vocabulary, width), nn.Linear(width, vocabulary)
        self.layer, self.drop = nn.LSTM(width, width, batch_first=True), nn.Dropout(0.2)
        init.uniform_(self.tokens.weight, -0.1, 0.1)
        init.zeros_(self.head.bias)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.drop(self.layer(self.drop(self.tokens(tokens)))[0]))


def model_language(tied: bool) -> Case:
    """The next token."""
    tokens = draw_tokens(8, 13, 23)
    return Case(LanguageLstm(tied), tokens[:, :-1], tokens[:, 1:].contiguous())


add("lstm_language", partial(model_language, False), rate=1e-2)
add("lstm_language_tied", partial(model_language, True), rate=1e-2)


class Tagger(nn.Module):
    """A label for each token, with characters' convolution beside the words."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.letters = nn.Embedding(40, 16, padding_idx=0), nn.Embedding(20, 8)
        self.spell = nn.Conv1d(8, 8, 3, padding=1)
        self.layer = nn.LSTM(24, 16, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 4)

    def forward(self, words: Tensor, letters: Tensor) -> Tensor:
        spelled = self.spell(self.letters(letters).flatten(0, 1).transpose(1, 2)).amax(-1)
        spelled = spelled.view(*letters.shape[:2], -1)
        return self.head(self.layer(torch.cat([self.words(words), spelled], -1))[0])


@sound(rate=1e-2)
def tagger() -> Case:
    words = torch.randint(1, 40, (8, 10))
    batch = {"words": words, "letters": torch.randint(20, (8, 10, 6))}
    return Case(Tagger(), batch, words % 4)


class Attending(nn.Module):
    """Seq2seq with additive attention, GRU on both sides."""

    def __init__(self, vocabulary: int = 23, width: int = 24) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.encoder = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.decoder = nn.GRUCell(3 * width, width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(2 * width, width)
        self.score, self.head = nn.Linear(width, 1), nn.Linear(width, vocabulary)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, _ = self.encoder(self.tokens(source))
        state, outputs = memory.new_zeros(len(source), self.query.in_features), []
        for token in self.tokens(target).unbind(1):
            scores = self.score(torch.tanh(self.query(state)[:, None] + self.key(memory)))
            context = (scores.softmax(1) * memory).sum(1)
            state = self.decoder(torch.cat([token, context], -1), state)
            outputs.append(self.head(state))
        return torch.stack(outputs, 1)


@sound(rate=1e-2)
def seq2seq_attention() -> Case:
    tokens = draw_tokens(8, 9, 23)
    return Case(Attending(), (tokens[:, 1:].flip(1), tokens[:, :-1]), tokens[:, 1:].contiguous())


class ConvLstm(nn.Module):
    """An LSTM whose maps are convolutions."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.gates = nn.Conv2d(1 + width, 4 * width, 3, padding=1)
        self.head, self.width = nn.Conv2d(width, 1, 1), width

    def forward(self, x: Tensor) -> Tensor:
        state = cell = x.new_zeros(len(x), self.width, *x.shape[3:])
        for frame in x.unbind(1):
            i, f, g, o = self.gates(torch.cat([frame, state], 1)).chunk(4, 1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            state = torch.sigmoid(o) * torch.tanh(cell)
        return self.head(state)


@sound(rate=1e-2)
def convolutional_lstm() -> Case:
    frames = F.avg_pool2d(torch.randn(8, 6, 10, 10), 3, 1)
    moving = torch.stack([frames[:, 0].roll(step, -1) for step in range(6)], 1)[:, :, None]
    return Case(ConvLstm(), 3 * moving[:, :5], 3 * moving[:, 5])


class Recognizer(nn.Module):
    """Convolutions, a bidirectional GRU, and log-probabilities for CTC."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 24, 5, 2, 2)
        self.layer = nn.GRU(24, 16, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        return F.log_softmax(self.head(self.layer(hidden)[0]), -1)


@sound(rate=1e-2)
def connectionist() -> Case:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        steps = torch.full((len(output),), output.shape[1])
        sizes = torch.full((len(target),), target.shape[1])
        return F.ctc_loss(output.transpose(0, 1), target, steps, sizes)

    return Case(Recognizer(), torch.randn(8, 24, 8), torch.randint(1, 6, (8, 4)), loss)


# --- state spaces


class SelectiveScan(nn.Module):
    """Mamba's layer: A = -exp(A_log) starts at -1 … -n, the steps at 0.001 to 0.1."""

    def __init__(self, width: int = 16, states: int = 4) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(width, 2 * width, bias=False), nn.Linear(width, width)
        self.conv = nn.Conv1d(width, width, 3, groups=width, padding=2)
        self.select = nn.Linear(width, 1 + 2 * states, bias=False)
        self.step = nn.Linear(1, width)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(width, 1))
        self.D = nn.Parameter(torch.ones(width))
        self.states = states
        steps = torch.exp(torch.empty(width).uniform_(math.log(1e-3), math.log(0.1)))
        with torch.no_grad():
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.into(x).chunk(2, -1)
        x = F.silu(self.conv(x.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)
        rank, inputs, outputs = self.select(x).split([1, self.states, self.states], -1)
        steps = F.softplus(self.step(rank))
        decay = torch.exp(-steps[..., None] * self.A_log.exp())
        state, made = x.new_zeros(len(x), x.shape[2], self.states), []
        for t in range(x.shape[1]):
            drive = (steps[:, t] * x[:, t])[..., None] * inputs[:, t, None]
            state = decay[:, t] * state + drive
            made.append((state * outputs[:, t, None]).sum(-1))
        return self.out((torch.stack(made, 1) + self.D * x) * F.silu(gate))


class Retention(nn.Module):
    """Linear attention with a decay for each channel, as in RWKV."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.linspace(-6, 1, width))
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.gate, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        k, v, r = self.key(x), self.value(x), torch.sigmoid(self.gate(x))
        kept = torch.exp(-self.decay.exp())
        above = below = torch.zeros_like(x[:, 0])
        made = []
        for t in range(x.shape[1]):
            weight = k[:, t].exp()
            above, below = kept * above + weight * v[:, t], kept * below + weight
            made.append(above / below)
        return self.out(r * torch.stack(made, 1))


class Diagonal(nn.Module):
    """S4D: complex diagonal states, real parts -1/2, imaginary πn."""

    def __init__(self, width: int = 16, states: int = 8) -> None:
        super().__init__()
        self.log_real = nn.Parameter(torch.full((width, states), math.log(0.5)))
        self.imaginary = nn.Parameter(math.pi * torch.arange(states).float().repeat(width, 1))
        self.read = nn.Parameter(torch.randn(width, states, 2) * math.sqrt(0.5))
        self.log_step = nn.Parameter(torch.empty(width).uniform_(math.log(1e-3), math.log(0.1)))
        self.skip, self.out = nn.Parameter(torch.randn(width)), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        poles = torch.complex(-self.log_real.exp(), self.imaginary)
        scaled = poles * self.log_step.exp()[:, None]
        weights = torch.view_as_complex(self.read) * (scaled.exp() - 1) / poles
        times = torch.arange(x.shape[1])
        kernel = 2 * (weights[..., None] * (scaled[..., None] * times).exp()).sum(1).real
        size = 2 * x.shape[1]
        wave = torch.fft.rfft(x.transpose(1, 2), n=size) * torch.fft.rfft(kernel, n=size)
        y = torch.fft.irfft(wave, n=size)[..., : x.shape[1]].transpose(1, 2)
        return self.out(F.gelu(y + self.skip * x))


class StateSpace(nn.Module):
    """Pre-norm residual blocks of one kind of layer."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, 16), nn.Linear(16, 5)
        self.layers = nn.ModuleList(kind() for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer, norm in zip(self.layers, self.norms, strict=False):
            x = x + layer(norm(x))
        return self.head(self.norms[2](x).mean(1))


for _name, _kind in (("mamba", SelectiveScan), ("rwkv", Retention), ("s4d", Diagonal)):
    add(_name, partial(lambda kind: classify_series(StateSpace(kind)), _kind))


@sound()
def series_regressor() -> Case:
    x = torch.randn(16, 12, 6)
    return Case(Last(nn.GRU(6, 24, batch_first=True), 24, 1), x, draw_values(x[:, -3:]))
