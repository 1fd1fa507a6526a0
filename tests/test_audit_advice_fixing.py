"""`fix` keeps what helped, undoes what did not, and says so: with an audit that is made up, and
with the real one on broken models that are trained before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import audit_advice_cases as cases
import pytest
import torch
from torch import nn

from fanin import seeds
from fanin.diagnosis import Audit, audit
from fanin.diagnosis.advice import FixReport, copy_model, fix
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.measurement import Measurement
from fanin.diagnosis.patch import Patch


@pytest.fixture(autouse=True)
def draw_the_same() -> Iterator[None]:
    """Modules draw from torch's global generator: always the same, and its state is restored."""
    with seeds.preserve_torch_state(0):
        yield


# --- with an audit that is made up --------------------------------------------------------------


@dataclass(frozen=True)
class MadeUp:
    """An audit without measurements."""

    findings: Sequence[Finding]
    measurement: Measurement | None = None


def write(name: str, value: float, rows: tuple[int, int] | None = None) -> Patch:
    return Patch(operation="set", parameters=(name,), value=value, rows=rows)


def find(
    code: str, where: str, *patches: Patch, severity: Severity = "warning", also: Sequence[str] = ()
) -> Finding:
    return Finding(
        code=code,
        severity=severity,
        where=where,
        also=tuple(also),
        summary=f"{where} is wrong.",
        remedy="Change it.",
        patches=patches,
    )


Rule = Callable[[nn.Module], list[Finding]]


def repair(*rules: Rule, most_audits: int = 12) -> tuple[nn.Module, MadeUp, FixReport]:
    """Fix a model of two layers that all rules judge; nothing of it itself changes."""
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def judge(one: nn.Module) -> MadeUp:
        return MadeUp([finding for rule in rules for finding in rule(one)])

    found = fix(judge, model, judge(model), seed=0, most_audits=most_audits)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    return found


def is_filled(model: nn.Module, name: str, value: float) -> bool:
    return bool((model.get_parameter(name) == value).all())


def want(code: str, name: str, value: float, severity: Severity = "warning") -> Rule:
    """Wrong until the parameter is filled with the value, which its patch does."""
    return lambda model: (
        []
        if is_filled(model, name, value)
        else [find(code, name, write(name, value), severity=severity)]
    )


def test_patches_that_help_are_kept_together() -> None:
    fixed, after, report = repair(want("F901", "0.weight", 3.0), want("F902", "1.bias", 4.0))
    assert is_filled(fixed, "0.weight", 3) and is_filled(fixed, "1.bias", 4)  # noqa: PT018
    assert after.findings == []
    assert [one.outcome for one in report.findings] == ["repaired", "repaired"]
    assert str(report).startswith("2 of 2 findings repaired.")


def test_a_patch_whose_finding_is_still_there_is_undone() -> None:
    def judge_stubborn(model: nn.Module) -> list[Finding]:
        return [find("F903", "1.weight", write("1.weight", 9.0))]

    fixed, _, report = repair(want("F901", "0.weight", 3.0), judge_stubborn)
    assert is_filled(fixed, "0.weight", 3)
    assert not is_filled(fixed, "1.weight", 9)
    assert [one.outcome for one in report.findings] == ["repaired", "left"]
    assert "still there" in report.findings[1].why
    assert [patch.parameters for patch in report.patches] == [("0.weight",)]
    assert "1.weight" not in report.code


def test_a_patch_that_does_harm_is_undone() -> None:
    def judge_harm(model: nn.Module) -> list[Finding]:
        return [find("F999", "1.bias")] if is_filled(model, "1.bias", 4.0) else []

    fixed, after, report = repair(
        want("F901", "0.weight", 3.0), want("F902", "1.bias", 4.0), judge_harm
    )
    assert is_filled(fixed, "0.weight", 3)
    assert not is_filled(fixed, "1.bias", 4)
    assert [one.code for one in after.findings] == ["F902"]
    assert "undone, since F999 appears at 1.bias" in report.findings[1].why


def test_what_an_error_hid_is_repaired_in_its_turn_and_is_no_harm() -> None:
    def judge_hidden(model: nn.Module) -> list[Finding]:
        hidden = not is_filled(model, "0.weight", 3.0)
        return [] if hidden else want("F902", "1.bias", 4.0)(model)

    fixed, after, report = repair(want("F901", "0.weight", 3.0, "error"), judge_hidden)
    assert is_filled(fixed, "1.bias", 4)
    assert after.findings == []
    assert len(report.patches) == 2


def test_of_two_patches_for_one_parameter_that_of_the_worse_finding_counts() -> None:
    rules = (want("F901", "0.bias", 1.0), want("F902", "0.bias", 2.0, "error"))
    fixed, _, report = repair(*rules)
    assert is_filled(fixed, "0.bias", 2)
    assert [one.outcome for one in report.findings] == ["left", "repaired"]


def test_a_patch_that_another_one_crowded_out_has_its_turn() -> None:
    """The worse finding is gone with any positive number, the other one with 1 alone."""

    def judge(model: nn.Module) -> list[Finding]:
        bias = model.get_parameter("0.bias")
        low = bool((bias <= 0).any())
        return [find("F902", "0", write("0.bias", 2.0), severity="error")] if low else []

    def judge_exactly(model: nn.Module) -> list[Finding]:
        bias = model.get_parameter("0.bias")
        return [] if bool((bias == 1).all()) else [find("F901", "0", write("0.bias", 1.0))]

    fixed, after, report = repair(judge, judge_exactly)
    assert is_filled(fixed, "0.bias", 1)
    assert after.findings == []
    assert len(report.patches) == 1
    assert report.audits == 2


def test_rows_that_do_not_overlap_are_no_conflict() -> None:
    def judge(row: int) -> Rule:
        return lambda model: (
            []
            if model.get_parameter("0.weight")[row].eq(5).all()
            else [find(f"F90{row}", "0.weight", write("0.weight", 5.0, (row, row + 1)))]
        )

    fixed, _, report = repair(judge(0), judge(1))
    assert is_filled(fixed, "0.weight", 5)
    assert report.audits == 1


def test_a_small_change_is_tried_before_a_large_one() -> None:
    """Both findings are gone once the bias is right: the weights stay as they are."""

    def judge(model: nn.Module) -> list[Finding]:
        if is_filled(model, "0.bias", 0.0):
            return []
        everything = [write(name, 1.0) for name, _ in model.named_parameters()]
        return [find("F901", "0", *everything), find("F902", "0", write("0.bias", 0.0))]

    _, _, report = repair(judge)
    assert [patch.parameters for patch in report.patches] == [("0.bias",)]


def test_a_factor_is_applied_after_what_changes_the_signal() -> None:
    """The factor of the last audit counts, which saw the new weights."""

    def judge(model: nn.Module) -> list[Finding]:
        bias, head = (model.get_parameter(f"{i}.bias").mean().item() for i in range(2))
        factor = Patch(operation="scale", parameters=("1.bias",), value=bias / head)
        large = abs(head - bias) > 1e-5
        return [find("F901", "1", factor, severity="error")] if large else []

    _, after, report = repair(judge, want("F902", "0.bias", 8.0))
    assert after.findings == []
    assert [patch.parameters for patch in report.patches] == [("0.bias",), ("1.bias",)]


def test_a_finding_at_fewer_places_is_eased_and_a_finding_without_patch_is_code() -> None:
    def judge(model: nn.Module) -> list[Finding]:
        names = ["1.bias", "0.bias", "1.weight", "0.weight"]
        patches = [write(name, 2.0) for name in names[1:]]
        left = [name for name in names if not is_filled(model, name, 2.0)]
        return [find("F901", left[0], *patches, also=left[1:]), find("F902", "output")]

    fixed, _, report = repair(judge)
    assert is_filled(fixed, "1.weight", 2)
    assert [one.outcome for one in report.findings] == ["eased", "code"]
    assert "change the code" in str(report)


def test_a_patch_that_cannot_be_applied_is_left_out_with_the_reason() -> None:
    def judge(model: nn.Module) -> list[Finding]:
        return [find("F903", "nowhere", write("nowhere", 0.0))]

    fixed, _, report = repair(judge, want("F901", "0.weight", 3.0))
    assert is_filled(fixed, "0.weight", 3)
    assert "cannot be applied: No parameter of the model" in report.findings[0].why


def test_notes_are_left_alone_and_the_number_of_audits_is_bounded() -> None:
    note = want("F904", "1.bias", 7.0, "note")
    fixed, _, report = repair(note)
    assert not is_filled(fixed, "1.bias", 7)
    assert report.audits == 0
    assert report.findings[0].outcome == "note"

    def judge_many(model: nn.Module) -> list[Finding]:
        return [find(f"F91{i}", "0", write("0.bias", float(i))) for i in range(9)]

    _, _, report = repair(judge_many, most_audits=3)
    assert report.audits == 3
    assert "not tried: 3 audits were made" in report.findings[-1].why


def test_the_same_seed_gives_the_same_model() -> None:
    def judge(model: nn.Module) -> list[Finding]:
        patch = Patch(operation="initialize", parameters=("0.weight",), initializer="he_normal")
        return [] if model.get_parameter("0.weight").std() > 0.9 else [find("F901", "0", patch)]

    one, other = repair(judge)[0], repair(judge)[0]
    for name, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


# --- with the real audit ------------------------------------------------------------------------


def audit_with_labels(model: nn.Module) -> Audit:
    inputs, labels = cases.make_batch()
    return audit(model, inputs, target=labels)


REPAIRED = {
    "deep relu": cases.make_deep_relu,
    "deep tanh": cases.make_deep_tanh,
    "N(0, 1)": cases.make_unit_normal,
    "zeros": cases.make_zeros,
    "constant": cases.make_constant,
    "dead biases": cases.make_dead_biases,
}


@pytest.mark.parametrize("name", REPAIRED)
def test_a_broken_model_is_repaired_and_then_learns(name: str) -> None:
    model = REPAIRED[name]()
    before = audit_with_labels(model)
    assert before.errors or before.warnings
    fixed, after, report = fix(
        audit_with_labels, model, before, seed=0, batch=cases.make_batch()[0]
    )
    assert after.errors == ()
    assert report.patches
    broken, repaired = cases.train_best(model), cases.train_best(fixed)
    assert repaired < 1 < 1.7 < broken, (broken, repaired)


@pytest.mark.parametrize("name", REPAIRED)
def test_the_code_repairs_the_caller_s_model_as_well(name: str) -> None:
    model = REPAIRED[name]()
    before = audit_with_labels(model)
    report = fix(audit_with_labels, model, before, seed=0)[2]
    exec(report.code, {"model": model})
    assert audit_with_labels(model).errors == ()
    assert cases.train_best(model) < 1


def test_a_large_head_is_scaled_and_nothing_else_changes() -> None:
    model = cases.make_big_head()
    fixed, after, report = fix(audit_with_labels, model, audit_with_labels(model), seed=0)
    assert [(one.operation, one.parameters) for one in report.patches] == [("scale", ("6.weight",))]
    assert after.errors == after.warnings == ()
    assert report.loss_after is not None and report.loss_before is not None  # noqa: PT018
    assert report.loss_after < 3 < report.loss_before
    for name, value in copy_model(model).named_parameters():
        if name != "6.weight":
            assert torch.equal(fixed.get_parameter(name), value)


def test_dead_biases_are_set_to_zero_and_the_weights_stay() -> None:
    model = cases.make_dead_biases()
    report = fix(audit_with_labels, model, audit_with_labels(model), seed=0)[2]
    assert [one.parameters for one in report.patches] == [("2.bias",)]


def test_a_deep_stack_of_sigmoids_is_not_called_repaired() -> None:
    model = cases.make_deep_sigmoid()
    _, after, report = fix(audit_with_labels, model, audit_with_labels(model), seed=0)
    assert any(one.code == "F006" for one in after.findings)
    found = next(one for one in report.findings if one.finding.code == "F006")
    assert found.outcome == "code"
    assert "activation" in found.why


def test_a_sound_model_is_left_as_it_is() -> None:
    model = cases.make_mlp(nn.ReLU, 3)
    _, _, report = fix(audit_with_labels, model, audit_with_labels(model), seed=0)
    assert report.patches == ()
    assert report.code == ""
    assert str(report) == "Nothing to repair."


def test_the_report_fits_80_columns_and_json() -> None:
    model = cases.make_unit_normal()
    report = fix(audit_with_labels, model, audit_with_labels(model), seed=0)[2]
    assert max(map(len, str(report).splitlines())) <= 80
    assert set(report.to_json()) >= {"findings", "patches", "code", "loss_before", "loss_after"}
