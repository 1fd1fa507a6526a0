"""Real architectures: nearly all numbers are filled, the rest for a true reason, with the fans that
each forward pass shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
import zoo_cases
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import fanin
from fanin.apply import Record

pytestmark = [
    pytest.mark.usefixtures("draws_globally"),
    pytest.mark.filterwarnings("ignore"),  # of the packages themselves
]

SHARE = 0.99
"""Of the numbers of a model; what is left needs a reason that is allowed."""

ALLOWED = ("frozen", "special", "no matrix", "a parameter of its own in")
"""How the reasons begin that explain a parameter which could hold maps and is kept."""

UNSEEN = "a layer class that fanin does not know"
"""Allowed besides where there is no batch that could show the use."""


class FanReader(TorchFunctionMode):
    """Reads the fan-in of each parameter off the calls that use it: how many numbers of the input
    meet in one number of the output. It knows nothing of layers and layouts.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.found: dict[str, set[int]] = {}
        self._names = {one.untyped_storage()._cdata: name for name, one in model.named_parameters()}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        operands = [
            value for value in (*args, *(kwargs or {}).values()) if isinstance(value, Tensor)
        ]
        if len(operands) >= 2 and isinstance(result, Tensor):
            if name in ("linear", "matmul", "mm", "bmm", "__matmul__"):
                self._note(operands[1], operands[0].shape[-1])
            elif name in ("conv1d", "conv2d", "conv3d"):
                self._note(operands[1], math.prod(operands[1].shape[1:]))
            elif name == "embedding":
                self._note(operands[0] if operands[0].is_floating_point() else operands[1], 1)
        return result

    def _note(self, weight: Tensor, fan_in: int) -> None:
        name = self._names.get(weight.untyped_storage()._cdata)
        if name is not None:
            self.found.setdefault(name, set()).add(int(fan_in))


def check_model(model: nn.Module, batch: Mapping[str, Any] | None) -> None:
    """The share that is filled, the reasons for the rest, and the fans."""
    reader = FanReader(model)
    if batch is not None:
        with torch.no_grad(), reader:
            model(**batch)
    record = fanin.initialize(model, "he_normal", batch=batch, seed=0)
    _check_share(record, ALLOWED if batch is not None else (*ALLOWED, UNSEEN))
    for name, fans in reader.found.items():
        told = record[name]
        if told.tied_to is None and told.rule is not None and len(fans) == 1:
            counted = {part.fan_in for part in told.parts} or {told.fan_in}
            assert counted == fans, f"{name}: fan-in {counted}, used with {fans}"
    for name, parameter in model.named_parameters():
        assert parameter.isfinite().all(), name


def _check_share(record: Record, allowed: tuple[str, ...]) -> None:
    distinct = [one for one in record if one.tied_to is None]
    total = sum(math.prod(one.shape) for one in distinct)
    filled = sum(math.prod(one.shape) for one in distinct if one.rule is not None)
    unexplained = [
        (one.name, one.shape, one.reason)
        for one in distinct
        if one.rule is None
        and len(one.shape) >= 2
        and math.prod(one.shape) > max(one.shape)
        and one.shape[0] > 1
        and not one.reason.startswith(allowed)
    ]
    assert not unexplained
    left = [(one.name, one.shape, one.reason) for one in distinct if one.rule is None]
    small = [
        one for one in left if len(one[1]) == 1 or one[1][0] == 1 or one[2].startswith(allowed)
    ]
    assert filled >= SHARE * total or small == left


def check_transformer(kind: str) -> bool:
    """Whether the type could be built; raises if a check fails."""
    model = zoo_cases.build(kind)
    if model is None:
        return False
    batch = zoo_cases.make_batch(model)
    if batch is not None:
        try:
            with torch.no_grad():
                model(**batch)
        except Exception:  # a type that needs other inputs is initialized without a batch
            batch = None
    check_model(model, batch)
    return True


def collect_failures(kinds: Sequence[str], check: Callable[[str], bool]) -> tuple[int, list[str]]:
    """How many could be built, and what failed."""
    count, failures = 0, []
    for kind in kinds:
        try:
            count += check(kind)
        except Exception as error:
            failures.append(f"{kind}: {type(error).__name__}: {str(error)[:400]}")
    return count, failures


def test_ten_types_of_transformers() -> None:
    pytest.importorskip("transformers")
    count, failures = collect_failures(zoo_cases.TEN, check_transformer)
    assert failures == []
    assert count == 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_more_than_sixty_types_of_transformers() -> None:
    pytest.importorskip("transformers")
    count, failures = collect_failures(zoo_cases.TYPES, check_transformer)
    assert failures == []
    assert count >= 60


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_more_than_forty_families_of_timm() -> None:
    timm = zoo_cases.import_beside_torchvision("timm")
    if timm is None:
        pytest.skip("timm is not installed: make test-zoo")
    count, failures = collect_failures(zoo_cases.TIMM, lambda name: check_family(timm, name))
    assert failures == []
    assert count >= 40


def check_family(timm: Any, name: str) -> bool:
    """Whether the installed release has the family; raises if a check fails."""
    if not timm.list_models(name):
        return False
    model = timm.create_model(name).eval()
    sides = model.default_cfg["input_size"]
    check_model(model, None if math.prod(sides) > 3 * 256 * 256 else {"x": torch.randn(1, *sides)})
    return True


def test_a_planted_wrong_fan_is_found() -> None:
    class Wrong(nn.Linear):
        """Takes a part of its inputs only."""

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x[..., :2], self.weight[:, :2])

    with pytest.raises(AssertionError, match=r"fan-in \{8\}, used with"):
        check_model(nn.Sequential(Wrong(8, 4)), {"input": torch.randn(3, 8)})


def test_mamba_keeps_what_its_start_depends_on() -> None:
    """dt's bias (softplus gives 0.001 to 0.1), A's logarithms and the skips D."""
    pytest.importorskip("transformers")
    model = zoo_cases.build("mamba")
    assert model is not None
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record = fanin.initialize(model, "he_normal", batch=zoo_cases.make_batch(model), seed=0)
    kept = [one.name for one in record if one.rule is None]
    assert {name.rpartition("mixer.")[2] for name in kept} >= {"dt_proj.bias", "A_log", "D"}
    assert all(torch.equal(model.get_parameter(name), before[name]) for name in kept)
    assert record["layers.0.mixer.dt_proj.bias"].reason.startswith("special: from -")
