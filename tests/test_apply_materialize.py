"""Models on the device meta whose values a function of the caller makes: the weights of the model
that was built on the CPU, or an error that names what the function leaves out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from apply_cases import built, equal
from published_cases import TRANSFORMERS, build_published
from torch import Tensor, nn

from fanin.apply import initialize
from fanin.errors import FitError, UsageError

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason='needs the extra "peers"'
)


class Tabled(nn.Module):
    """What its constructor alone knows: a frozen table, a buffer, a scale; and ordinary layers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.table.weight.requires_grad_(False)
        self.register_buffer("steps", torch.zeros(3, dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(3))
        self.scale = nn.Parameter(torch.empty(16))
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 50)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self, mode: str = "") -> None:
        """In the manner of timm: all at once, without arguments that are needed."""
        self.table.weight.data.fill_(0.5)  # which leaves no trace but the values
        self.steps.copy_(torch.arange(3))
        self.mean.fill_(0.25)
        self.scale.normal_()
        nn.init.normal_(self.head.weight)

    @torch.no_grad()
    def fill_module(self, module: nn.Module) -> None:
        """In the manner of transformers: for each module."""
        if module is self:
            self.init_weights()

    @torch.no_grad()
    def fill_named(self, module: nn.Module, name: str = "") -> None:
        """In the manner of timm's functions for each module, which look at its name."""
        if name == "table":
            self.table.weight.fill_(0.5)
        elif not name:
            self.init_weights()


def tabled() -> nn.Module:
    return built(Tabled)


def on_meta(make: Callable[[], nn.Module] = Tabled) -> nn.Module:
    with torch.device("meta"):
        return make()


def tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


WAYS = ("init_weights", "fill_module", "fill_named")


@pytest.mark.parametrize("way", WAYS)
def test_a_function_makes_what_no_rule_fills_and_the_rules_write_over_the_rest(way: str) -> None:
    expected, model = tabled(), on_meta()
    first = initialize(expected, "he_normal", seed=3)
    record = initialize(model, "he_normal", seed=3, device="cpu", materialize=getattr(model, way))
    assert torch.equal(model.table.weight, torch.full((50, 16), 0.5))
    assert not model.table.weight.requires_grad
    assert model.steps.tolist() == [0, 1, 2]
    assert model.mean.tolist() == [0.25] * 3
    assert model.norm.running_var.tolist() == [1.0] * 16  # by its own reset method
    assert torch.equal(model.head.weight, expected.head.weight)
    for name in ("table.weight", "scale"):
        assert record[name].reason == f"{first[name].reason}; materialize filled it"
        assert record[name].changed
    one, other = (replace(each["head.weight"], before=None) for each in (record, first))
    assert one == other


def test_its_random_numbers_depend_on_the_seed_only_and_move_no_global_state() -> None:
    one, two, other = (on_meta() for _ in range(3))
    for model, seed in ((one, 1), (two, 1), (other, 2)):
        initialize(model, "zero", seed=seed, device="cpu", materialize=model.fill_module)
    assert torch.equal(one.scale, two.scale)
    assert not torch.equal(one.scale, other.scale)


def test_each_module_has_a_stream_of_its_own_by_its_bare_name() -> None:
    def fill(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)

    def make() -> nn.Module:
        return nn.Sequential(*(nn.Linear(4, 4) for _ in range(2))).requires_grad_(False)

    model, wrapped = on_meta(make), nn.DataParallel(on_meta(make))
    for each in (model, wrapped):
        initialize(each, "he_normal", seed=0, device="cpu", materialize=fill)
    assert not torch.equal(model[0].weight, model[1].weight)
    assert equal(model, wrapped.module)


def test_what_is_frozen_or_left_out_and_has_memory_keeps_its_values() -> None:
    model = on_meta()
    model.table.weight = nn.Parameter(torch.full((50, 16), 2.0), requires_grad=False)
    model.scale = nn.Parameter(torch.full((16,), 3.0))
    model.mean = torch.full((3,), 4.0)
    for left_out in ({"exclude": "scale"}, {"default": "he_normal"}):
        rules = {"scale": "keep"} if "default" in left_out else "he_normal"
        initialize(model, rules, seed=0, device="cpu", materialize=model.init_weights, **left_out)
        assert (model.table.weight == 2.0).all()
        assert (model.scale == 3.0).all()
        assert (model.mean == 4.0).all()


class Legacy(Tabled):
    """Its constructor takes memory that nobody has filled, also under meta, as transformers' XLNet
    does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((16,), 7.0, device="cpu"))


def test_memory_that_the_constructor_left_empty_is_filled_too() -> None:
    model = on_meta(Legacy)
    record = initialize(model, "he_normal", seed=0, device="cpu", materialize=model.init_weights)
    assert not (model.scale == 7.0).any()
    assert "materialize filled it" in record["scale"].reason
    again = on_meta(Legacy)
    scale = again.scale
    with pytest.raises(FitError):
        initialize(
            again, "zero", seed=0, biases="he_normal", device="cpu", materialize=again.init_weights
        )
    assert again.scale is scale
    assert (scale == 7.0).all()


def test_what_it_replaces_and_what_is_shared_stays_so() -> None:
    def make() -> nn.Module:
        model = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        model[1].weight = model[0].weight
        return model.requires_grad_(False)

    def fill(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.ones_(module.weight)
            module.bias = nn.Parameter(torch.full((4,), 3.0), requires_grad=False)

    model = on_meta(make)
    initialize(model, "he_normal", seed=0, device="cpu", materialize=fill)
    assert model[0].weight is model[1].weight
    assert (model[0].weight == 1).all()
    assert (model[1].bias == 3).all()


def test_a_preview_shows_what_would_be_and_leaves_the_model_on_meta() -> None:
    model = on_meta()
    before = tensors(model)
    record = initialize(
        model, "he_normal", seed=0, device="cpu", materialize=model.init_weights, preview=True
    )
    assert "materialize filled it" in record["table.weight"].reason
    assert all(one is two for (_, one), (_, two) in zip(before, tensors(model), strict=True))


def test_without_meta_it_is_not_called() -> None:
    def fail(module: nn.Module) -> None:
        raise AssertionError

    model = tabled()
    before = model.table.weight.clone()
    initialize(model, "he_normal", seed=0, materialize=fail)
    assert torch.equal(model.table.weight, before)


# --- what goes wrong
# -----------------------------------------------------------------------------


def half(module: nn.Module) -> None:
    """Fills half of a table."""
    if isinstance(module, nn.Embedding):
        with torch.no_grad():
            module.weight[:25].fill_(0.5)


def broken(module: nn.Module) -> None:
    if isinstance(module, nn.BatchNorm1d):
        module.note = "changed"  # type: ignore[assignment]
        raise ValueError("not today")


def silent(module: nn.Module) -> None:
    """Fills nothing."""


@pytest.mark.parametrize(
    ("fill", "text"),
    [
        (silent, r"^table\.weight: frozen parameters .* given as materialize does not fill them"),
        (half, r"^table\.weight: frozen parameters .* given as materialize does not fill them"),
        (
            broken,
            r"^materialize failed for norm \(BatchNorm1d\), so nothing .*ValueError: not today",
        ),
    ],
)
def test_an_error_names_what_is_left_and_everything_is_as_it_was(
    fill: Callable[[nn.Module], None], text: str
) -> None:
    model = on_meta()
    before = tensors(model)
    with pytest.raises(FitError, match=text):
        initialize(model, "he_normal", seed=0, device="cpu", materialize=fill)
    after = tensors(model)
    assert all(
        name == other and one is two
        for (name, one), (other, two) in zip(before, after, strict=True)
    )
    assert not hasattr(model.norm, "note")


def test_a_rule_that_does_not_fit_undoes_it_too() -> None:
    model = on_meta()
    before = tensors(model)
    with pytest.raises(FitError, match=r"head\.bias"):
        initialize(
            model, "zero", seed=0, biases="he_normal", device="cpu", materialize=model.init_weights
        )
    assert all(one is two for (_, one), (_, two) in zip(before, tensors(model), strict=True))


@pytest.mark.parametrize(
    ("function", "device", "text"),
    [("model._init_weights", "cpu", "is a function"), (silent, None, r"device='cpu'")],
)
def test_it_takes_a_function_and_a_device(function: object, device: str | None, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        initialize(on_meta(), "zero", seed=0, device=device, materialize=function)  # type: ignore[arg-type]


# --- transformers
# -----------------------------------------------------------------------------

LEFT_BY_TRANSFORMERS = {"CLIPModel": {"logit_scale": "constant(value=2.6592)"}}
"""What transformers' own function leaves to the constructor, by rule."""


@needs_transformers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_model_of_transformers_gets_the_weights_of_one_built_on_the_cpu(name: str) -> None:
    """To the bit where rules fill it or its function draws nothing; otherwise by the moments that
    the record would show.
    """
    rules = LEFT_BY_TRANSFORMERS.get(name, {})
    expected = build_published(name, "cpu")
    first = initialize(expected, rules, default="he_normal", seed=1)
    for way in ("_init_weights", "initialize_weights"):
        model = build_published(name, "meta")
        record = initialize(
            model,
            rules,
            default="he_normal",
            seed=1,
            device="cpu",
            materialize=getattr(model, way),
        )
        assert [one.rule for one in record] == [one.rule for one in first]
        kept = {one.name for one in record if one.rule is None and one.tied_to is None}
        assert all("materialize filled it" in record[one].reason for one in kept)
        theirs = dict(tensors(expected))
        for key, values in tensors(model):
            if key not in kept or theirs[key].unique().numel() <= 1:
                assert torch.equal(values, theirs[key]), key
            elif not torch.equal(values, theirs[key]):
                assert_same_spread(key, values, theirs[key])


def assert_same_spread(name: str, one: Tensor, other: Tensor) -> None:
    """Two draws of n numbers each: 5 standard errors of the logarithm of their ratio, √(2/2n)
    each for normal numbers, and twice that for heavier tails.
    """
    ratio = float(one.detach().double().std() / other.detach().double().std())
    assert abs(torch.tensor(ratio).log()) < 10 / one.numel() ** 0.5, name


@needs_transformers
@pytest.mark.filterwarnings("ignore")
def test_what_transformers_itself_does_not_fill_is_named() -> None:
    model = build_published("CLIPModel", "meta")
    with pytest.raises(FitError, match=r"^logit_scale: parameters .* as materialize does not fill"):
        initialize(model, "he_normal", seed=1, device="cpu", materialize=model._init_weights)
    assert all(tensor.is_meta for _, tensor in tensors(model))
