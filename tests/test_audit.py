"""`fanin.audit`: what it measures, that it changes nothing, what it says of what it cannot run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from combinations import for_each
from torch import Tensor, nn

import fanin
from fanin import seeds
from fanin.diagnosis.probe import measure_start
from fanin.errors import FitError, UsageError


def make_mlp(depth: int = 3, width: int = 32, seed: int = 0) -> nn.Sequential:
    with seeds.preserve_torch_state(seed):
        layers: list[nn.Module] = [nn.Linear(8, width)]
        for _ in range(depth - 1):
            layers += [nn.ReLU(), nn.Linear(width, width)]
        model = nn.Sequential(*layers, nn.ReLU(), nn.Linear(width, 3))
    fanin.initialize(model, "he_normal", seed=seed)
    return model


def draw(*shape: int, seed: int = 0) -> Tensor:
    return seeds.standard_normal(shape, seeds.make_generator(seed, "test"))


X = draw(32, 8)
Y = torch.arange(32) % 3


class Scaled(nn.Module):
    """Inputs changed in place, activations in place, a residual sum, outputs in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.count = 0
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> dict[str, Any]:
        self.calls += 1
        self.count += 1
        x.mul_(2)
        h = F.relu(self.first(x), inplace=True)
        h = h + self.norm(self.second(h)).relu_()
        return {"hidden": (h,), "logits": self.head(F.dropout(h, 0.1, self.training))}


def build(make: Callable[[], nn.Module]) -> nn.Module:
    """What torch's own modules draw does not move the global generator."""
    with seeds.preserve_torch_state(0):
        return make()


def make_scaled() -> nn.Module:
    return build(Scaled)


def test_signals_are_what_a_hand_made_pass_gives() -> None:
    model = make_mlp()
    found = measure_start(model, X, Y)
    hidden, expected = X, []
    for module in model:
        hidden = module(hidden)
        if isinstance(module, nn.Linear):
            hidden.retain_grad()
            expected.append(hidden)
    F.cross_entropy(hidden, Y).backward()
    for signal, tensor in zip(found.layers, expected, strict=True):
        assert tensor.grad is not None
        gradient, tensor = tensor.grad, tensor.detach()
        assert signal.rms == pytest.approx(float(tensor.square().mean().sqrt()), rel=1e-5)
        assert signal.mean == pytest.approx(float(tensor.mean()), rel=1e-4, abs=1e-6)
        wanted = float(gradient.square().mean().sqrt())
        assert signal.gradient_rms == pytest.approx(wanted, rel=1e-4)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        wanted = float(parameter.grad.square().mean().sqrt())
        assert found.parameters[name].gradient_rms == pytest.approx(wanted, rel=1e-4)
    assert found.loss.value == pytest.approx(float(F.cross_entropy(hidden.detach(), Y)), rel=1e-5)


def test_functions_in_place_and_sums_are_measured_when_they_are_computed() -> None:
    model = make_scaled()
    found = measure_start(model, X, Y)
    kinds = [(one.kind, one.name) for one in found.signals.values()]
    assert ("activation", ":relu") in kinds
    assert ("add", ":add") in kinds
    before = next(one for one in found.layers if one.name == "first")
    after = next(one for one in found.signals.values() if one.kind == "activation")
    # An activation in place would otherwise have made both alike.
    assert before.mean < after.mean
    assert before.zero_share == 0 < after.zero_share
    assert found.output_node is not None
    assert all(one.gradient_rms for one in found.layers)


@dataclass(frozen=True)
class Unchanged:
    model: nn.Module
    batch: Any
    target: Any = None


def _make_used_model() -> nn.Module:
    """A model with gradients, an optimizer's hooks, frozen parts and parts in eval mode."""
    model = make_mlp()
    F.cross_entropy(model(X), Y).backward()
    model[0].requires_grad_(False)
    model[2].eval()
    return model


UNCHANGED = {
    "mlp": Unchanged(make_mlp(), X, Y),
    "buffers, counters, in place": Unchanged(make_scaled(), X, Y),
    "gradients, frozen, eval": Unchanged(_make_used_model(), X, Y),
    "eval": Unchanged(make_scaled().eval(), X, Y),
    "lstm": Unchanged(build(lambda: nn.LSTM(8, 8, batch_first=True)), draw(16, 5, 8)),
    "attention": Unchanged(
        build(lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)), draw(16, 5, 8)
    ),
    "zero head": Unchanged(make_mlp(), X, Y),
}
with torch.no_grad():
    UNCHANGED["zero head"].model[-1].weight.zero_()  # type: ignore[index,union-attr]


@for_each("case", list(UNCHANGED.values()), ids=list(UNCHANGED))
def test_nothing_of_the_model_changes(case: Unchanged) -> None:
    model, batch = case.model, case.batch
    before = copy.deepcopy(model)
    given = batch.clone()
    flags = [module.training for module in model.modules()]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    generator = torch.get_rng_state()
    first = fanin.audit(model, batch, target=case.target)
    again = fanin.audit(model, batch, target=case.target)
    assert first.to_json() == again.to_json()
    assert torch.equal(given, batch)
    assert torch.equal(generator, torch.get_rng_state())
    assert [module.training for module in model.modules()] == flags
    for name, value in model.state_dict().items():
        assert torch.equal(value, before.state_dict()[name]), name
    for parameter, twin, grad in zip(model.parameters(), before.parameters(), grads, strict=True):
        assert parameter.requires_grad == twin.requires_grad
        assert (parameter.grad is None) == (grad is None)
        assert grad is None or torch.equal(parameter.grad, grad)  # type: ignore[arg-type]
    assert _list_hooks(model) == []
    assert getattr(model, "count", 0) == 0


def _list_hooks(model: nn.Module) -> list[str]:
    tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        f"{name}.{table}"
        for name, module in model.named_modules()
        for table in tables
        if getattr(module, table)
    ]


class Caching(nn.Module):
    """In eval mode it keeps what it computed from its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)
        self.cache: dict[str, Tensor] = {}
        self.calls: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(x)
        weight = self.layer.weight * 2
        if not self.training:
            weight = self.cache.setdefault("weight", weight)
        return F.linear(x, weight)


def test_what_a_model_keeps_of_a_pass_is_gone_afterwards() -> None:
    model = build(Caching)
    assert isinstance(model, Caching)
    fanin.audit(model, X, target=Y)
    assert (model.cache, model.calls) == ({}, [])


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        self.part(x)
        raise RuntimeError("there is no output")


def test_hooks_go_when_forward_raises() -> None:
    model = build(Failing)
    with pytest.raises(FitError, match="there is no output"):
        measure_start(model, X, Y)
    assert _list_hooks(model) == []
    found = fanin.audit(model, X, target=Y)
    assert found.measurement is None
    assert "there is no output" in found.notes[0]
    assert _list_hooks(model) == []


class Demanding(nn.Module):
    """Asks of its input what torch allows of a tensor without gradient only."""

    def __init__(self, demand: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)
        self.demand = demand

    def forward(self, x: Tensor) -> Tensor:
        hidden = x[:, None]
        self.demand(hidden)
        return self.layer(hidden[:, 0])


@for_each(
    "demand",
    [
        lambda hidden: setattr(hidden, "requires_grad", True),
        lambda hidden: hidden.requires_grad_(False),
        lambda hidden: hidden.numpy(),
    ],
    ids=["requires_grad = True", "requires_grad_(False)", "numpy"],
)
def test_inputs_get_no_gradient_where_the_model_forbids_it(
    demand: Callable[[Tensor], object],
) -> None:
    found = fanin.audit(build(lambda: Demanding(demand)), X, target=Y)
    assert found.notes == ()
    assert found.measurement is not None
    assert found.measurement.parameters["layer.weight"].gradient_rms


class Rounded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).argmax(-1)


class Blind(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3).to(torch.complex64)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.to(torch.complex64))


@dataclass(frozen=True)
class Odd:
    """What an audit is given, and what it says of it."""

    make: Callable[[], nn.Module]
    batch: Tensor = X
    target: Tensor | None = Y
    says: str = ""
    """In the notes, or in the summaries of findings."""
    code: str = ""
    runs: bool = True


ODD = {
    "raises": Odd(Failing, says="failed in the model itself", runs=False),
    "wrong input shape": Odd(make_mlp, X[:, :5], says="failed in 0 (Linear)", runs=False),
    "no parameters": Odd(Twice, target=None, says="No parameter is trainable"),
    "frozen": Odd(lambda: make_mlp().requires_grad_(False), says="No parameter is trainable"),
    "non-finite input": Odd(make_mlp, X * float("nan"), says="not finite", code="F001"),
    "complex output": Odd(Complex, target=None),
    "integer output": Odd(Rounded, target=None, says="no floating-point tensor", runs=False),
    "no gradient": Odd(Blind, code="F021", says="no gradient comes back"),
    "scripted": Odd(lambda: torch.jit.script(make_mlp()), says="scripted", runs=False),
    "on meta": Odd(lambda: make_mlp().to("meta"), says="device meta", runs=False),
    "labels beyond the classes": Odd(
        make_mlp, target=torch.arange(32) % 9, says="labels from 0 to 8", code="F040"
    ),
    "target of another shape": Odd(make_mlp, target=draw(32, 2), code="F040", says="(32, 2)"),
    "bf16": Odd(lambda: make_mlp().bfloat16(), X.bfloat16()),
    "float64": Odd(lambda: make_mlp().double(), X.double()),
    "one sample": Odd(make_mlp, X[:1], Y[:1]),
    "an empty parameter": Odd(
        lambda: nn.ParameterList([nn.Parameter(torch.zeros(0, 3))]),
        says="failed",
        runs=False,
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Complex modules:UserWarning")
@for_each("case", list(ODD.values()), ids=list(ODD))
def test_what_cannot_be_audited_is_said(case: Odd) -> None:
    found = fanin.audit(build(case.make), case.batch, target=case.target)
    texts = [*found.notes, *(one.summary for one in found.findings)]
    assert any(case.says in text for text in texts) or not case.says, texts
    assert not case.code or case.code in {one.code for one in found.findings}
    assert (found.measurement is not None) == case.runs
    assert str(found)


def test_what_is_no_model_or_batch_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"Expected a torch.nn.Module, not 3"):
        fanin.audit(3, X)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="A batch is a tensor"):
        fanin.audit(make_mlp(), "x")  # type: ignore[arg-type]
    with pytest.raises(FitError, match="no shape yet"):
        fanin.audit(nn.Sequential(nn.LazyLinear(3)), X)
    with pytest.raises(UsageError, match="level"):
        fanin.audit(make_mlp(), X, level="deep")  # type: ignore[arg-type]


def test_a_sound_model_has_no_findings_but_notes() -> None:
    for seed in range(5):
        found = fanin.audit(make_mlp(seed=seed), X, target=Y)
        assert found.errors == found.warnings == (), str(found)
        assert found.notes == ()


def test_ignored_findings_are_left_out() -> None:
    model = make_mlp()
    with torch.no_grad():
        model[-1].weight.mul_(1000)
    found = fanin.audit(model, X, target=Y)
    assert [one.code for one in found.errors] == ["F031"]
    assert not fanin.audit(model, X, target=Y, ignore=["F031:6"]).errors
    with pytest.raises(UsageError):
        fanin.audit(model, X, target=Y, ignore=["too large"])
