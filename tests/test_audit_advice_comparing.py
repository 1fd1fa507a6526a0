"""`compare` ranks initializers as training does, and says what is tied."""

from __future__ import annotations

import audit_advice_cases as cases
import pytest
import torch
from torch import nn

import fanin
from fanin.diagnosis import Audit, audit
from fanin.diagnosis.advice import Comparison, compare, copy_model
from fanin.errors import UnknownName, UsageError

INITIALIZERS = (
    "he_normal",
    "lecun_normal",
    "xavier_uniform",
    "torch_default",
    "normal(std=0.05)",
    "normal(std=1.0)",
    "constant(value=0.01)",
)


def audit_with_labels(model: nn.Module) -> Audit:
    inputs, labels = cases.make_batch()
    return audit(model, inputs, target=labels)


@pytest.fixture(scope="module")
def deep() -> Comparison:
    return compare(audit_with_labels, cases.make_deep_relu(), INITIALIZERS, seeds=2)


def rank(values: list[float]) -> torch.Tensor:
    return torch.tensor(values).argsort().argsort().double()


def test_the_score_ranks_as_training_does(deep: Comparison) -> None:
    """Spearman's correlation with the mean loss over a hundred steps."""
    scores, losses = [], []
    for row in deep.rows:
        if row.initializer != "as it is":
            model = copy_model(cases.make_deep_relu())
            fanin.initialize(model, row.initializer, seed=7)
            scores.append(row.score)
            losses.append(min(cases.train_best(model), 100.0))
    found = torch.corrcoef(torch.stack([rank(scores), rank(losses)]))[0, 1]
    assert found > 0.7


def test_the_conclusion_comes_first_and_names_what_is_wrong_with_the_others(
    deep: Comparison,
) -> None:
    lines = str(deep).splitlines()
    assert lines[0] == "Sequential starts best from he_normal."
    assert max(map(len, lines)) <= 80
    why = {row.initializer: deep.explain(row) for row in deep.rows}
    assert why["he_normal"] == ""
    assert "signal changes by ×" in why["normal(std=0.05)"] or "finds" in why["normal(std=0.05)"]
    assert deep.rows[-1].initializer in ("normal", "constant(value=0.01)")


def test_the_model_itself_takes_part_and_is_not_changed() -> None:
    model = cases.make_mlp(nn.ReLU, 2)
    before = copy_model(model)
    found = compare(audit_with_labels, model, ["he_normal"], seeds=1)
    assert {row.initializer for row in found.rows} == {"as it is", "he_normal"}
    assert found.best.spread is None
    for name, value in before.named_parameters():
        assert torch.equal(model.get_parameter(name), value)


def test_equal_starts_are_tied() -> None:
    rules = ["he_normal", "variance_scaling(scale=2.0, distribution=normal)"]
    found = compare(audit_with_labels, cases.make_deep_relu(), rules, seeds=2)
    assert len(found.tied) == 1
    assert "is tied with it" in str(found)
    one, other = (row for row in found.rows if row.initializer != "as it is")
    assert one.score == pytest.approx(other.score, abs=1e-6)


def test_what_does_not_fit_is_last_and_says_why() -> None:
    found = compare(
        audit_with_labels, cases.make_mlp(nn.ReLU, 2), ["delta_orthogonal", "he_normal"], seeds=1
    )
    assert found.rows[-1].initializer == "delta_orthogonal"
    assert found.explain(found.rows[-1]).startswith("does not fit")
    assert "does not fit" in str(found)


def test_json_holds_every_row(deep: Comparison) -> None:
    found = deep.to_json()
    assert found["best"] == "he_normal"
    assert len(found["rows"]) == len(INITIALIZERS) + 1
    assert {"score", "spread", "why", "loss"} <= set(found["rows"][0])


@pytest.mark.parametrize(
    ("initializers", "seeds", "error"),
    [
        ("he_normal", 2, UsageError),
        ([], 2, UsageError),
        (["hee"], 2, UnknownName),
        (["he_normal"], 0, UsageError),
    ],
)
def test_bad_arguments_are_refused(
    initializers: object, seeds: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        compare(audit_with_labels, cases.make_mlp(nn.ReLU, 2), initializers, seeds=seeds)  # type: ignore[arg-type]
