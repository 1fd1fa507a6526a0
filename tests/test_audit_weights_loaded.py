"""F019 and F020: whether a model holds what a file has."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from audit_weight_cases import draw, judge, make_mlp
from combinations import for_each
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.finding import Finding

State = dict[str, Tensor]
MODEL = make_mlp(10, 32, 32, 4)


def copy_state() -> State:
    """The file: what the model holds."""
    return {name: value.clone() for name, value in MODEL.state_dict().items()}


def find(model: nn.Module, expected: Mapping[str, Tensor]) -> list[Finding]:
    """All findings."""
    return judge(model, draw(4, 10), expected)


NAMES: dict[str, Callable[[State], object]] = {
    "as it is": lambda state: state,
    "data parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
    "compiled and parallel": lambda state: {
        f"module._orig_mod.{name}": value for name, value in state.items()
    },
    "lightning": lambda state: {
        "epoch": 3,
        "state_dict": {f"model.{name}": value for name, value in state.items()},
    },
    "optimizer beside": lambda state: {"model": state, "optimizer": {"state": {}}},
}


@for_each("name", NAMES)
def test_a_loaded_model_is_no_finding_however_its_names_are_written(name: str) -> None:
    assert find(MODEL, NAMES[name](copy_state())) == []  # type: ignore[arg-type]


def test_a_part_of_a_larger_file_fits_by_its_prefix() -> None:
    state = {f"bert.{name}": value for name, value in copy_state().items()}
    (finding,) = find(MODEL, state | {"cls.weight": torch.ones(3)})
    assert (finding.code, finding.severity, finding.where) == ("F020", "note", "")
    assert "cls.weight" in finding.summary
    outer = nn.ModuleDict({"bert": copy.deepcopy(MODEL)})
    outer.forward = outer["bert"].forward  # type: ignore[method-assign]
    assert find(outer, copy_state()) == []


@for_each("names", ["_orig_mod.", "module.", ""])
def test_weights_that_were_initialized_again(names: str) -> None:
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        model[2].weight.copy_(0.1 * draw(32, 32))  # type: ignore
        model[2].bias.zero_()  # type: ignore
    state = {names + name: value for name, value in copy_state().items()}
    (finding,) = find(model, state)
    assert (finding.code, finding.severity) == ("F019", "error")
    assert finding.places == ("2.weight", "2.bias")


def test_a_transposed_weight() -> None:
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        model[2].weight.copy_(MODEL[2].weight.T.clone())  # type: ignore
    (finding,) = find(model, copy_state())
    assert (finding.code, finding.severity, finding.where) == ("F019", "error", "2.weight")
    assert "transposed" in finding.summary


def test_a_weight_that_was_trained_on_is_a_warning_and_rounding_a_note() -> None:
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        model[2].weight.add_(0.01 * draw(32, 32))  # type: ignore
    (finding,) = find(model, copy_state())
    assert (finding.code, finding.severity, finding.where) == ("F019", "warning", "2.weight")
    rounded = {name: value.bfloat16() for name, value in copy_state().items()}
    (finding,) = find(MODEL, rounded)
    assert (finding.code, finding.severity) == ("F019", "note")
    low = copy.deepcopy(MODEL).bfloat16()
    assert judge(low, draw(4, 10).bfloat16(), copy_state()) == []


def test_buffers_that_were_reset() -> None:
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["1.running_mean"] = draw(8)
    state["1.num_batches_tracked"] = torch.tensor(100)
    (finding,) = find(model, state)
    assert (finding.code, finding.where) == ("F019", "1.running_mean")


def test_what_the_file_lacks_is_not_loaded() -> None:
    state = copy_state()
    del state["2.weight"]
    (finding,) = find(MODEL, state)
    assert (finding.code, finding.severity, finding.where) == ("F020", "warning", "2.weight")


def test_a_new_head_is_a_note() -> None:
    state = copy_state()
    state["4.weight"], state["4.bias"] = torch.ones(7, 32), torch.ones(7)
    (finding,) = find(MODEL, state)
    assert (finding.code, finding.severity) == ("F020", "note")
    assert finding.places == ("4.weight", "4.bias")
    assert "4×32 here and 7×32 in the file" in finding.summary


def test_a_file_whose_names_do_not_fit_is_an_error() -> None:
    state = {f"x{name.replace('.', '_')}": value for name, value in copy_state().items()}
    absent, unused = find(MODEL, state)
    assert (absent.code, absent.severity) == ("F020", "error")
    assert absent.evidence["loaded"] == 0
    assert (unused.code, unused.severity) == ("F020", "warning")
    assert find(MODEL, {})[0].severity == "error"


class Tied(nn.Module):
    """An embedding that is the head too."""

    @seeds.preserve_torch_state(0)
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(x[:, :8])
        return output


def test_one_name_of_a_tied_weight_suffices() -> None:
    model = Tied()
    state = {"embedding.weight": model.embedding.weight.detach().clone()}
    assert find(model, state) == []
