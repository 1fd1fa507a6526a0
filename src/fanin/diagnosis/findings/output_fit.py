"""Whether the output's activation, the loss and the target belong together: F039, F040, F041."""

from __future__ import annotations

from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings import expected_outputs, reachable_targets
from fanin.diagnosis.findings.final_activation import FinalActivation, find_final_activation
from fanin.diagnosis.findings.loss_behaviour import try_loss
from fanin.diagnosis.findings.output_record import OutputFit


def judge_output_fit(examination: Examination) -> Iterator[Finding]:
    """F039, F040 and F041: the first that holds, since each explains the next."""
    measurement = examination.measurement
    if measurement is None or measurement.output is None:
        return
    if examination.loss_problem:
        yield _report_failure(examination.loss_problem)
        return
    final = find_final_activation(measurement)
    if final is not None and final.is_softmax and final.units == 1:
        yield _report_constant(final)
        return
    loss = examination.loss_function
    if final is None or loss is None or measurement.target is None:
        return
    behaviour = try_loss(loss, measurement.output, measurement.target)
    if behaviour is None:
        return
    fit = OutputFit(measurement, measurement.output, measurement.target, final, behaviour, loss)
    for judge in (
        expected_outputs.judge_ignored_output,
        expected_outputs.judge_broadcast,
        expected_outputs.judge_probabilities,
        reachable_targets.judge_range,
        expected_outputs.judge_logits,
        expected_outputs.judge_log_probabilities,
        expected_outputs.judge_rectified,
        reachable_targets.judge_useless,
        reachable_targets.judge_squares,
        reachable_targets.judge_exclusive,
    ):
        found = judge(fit)
        if found is not None:
            yield found
            return


def _report_failure(problem: str) -> Finding:
    return Finding(
        code="F040",
        severity="error",
        where="target",
        summary=f"The loss cannot be computed. {problem}",
        remedy="Give the last layer as many units as the loss wants, or the target its shape.",
    )


def _report_constant(final: FinalActivation) -> Finding:
    return Finding(
        code="F041",
        severity="error",
        where=final.place,
        summary="A softmax over one unit is 1 for every input: no gradient reaches any parameter.",
        remedy=(
            "Use a sigmoid for one unit of two classes, no activation for a regression, or one "
            "unit for each class."
        ),
        evidence={"units": 1, "activation": final.label},
    )
