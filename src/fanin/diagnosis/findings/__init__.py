"""The judges: each reads an examination and yields findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.attention_weighing import judge_attention
from fanin.diagnosis.findings.data_scale import judge_data
from fanin.diagnosis.findings.dead_units import judge_dead_units, judge_saturation
from fanin.diagnosis.findings.dropped_signals import judge_dropout, judge_reach, judge_strays
from fanin.diagnosis.findings.frozen_parameters import judge_frozen
from fanin.diagnosis.findings.hidden_softmax import judge_hidden_softmax
from fanin.diagnosis.findings.initial_loss import judge_initial_loss
from fanin.diagnosis.findings.label_prior import judge_label_prior
from fanin.diagnosis.findings.learnability import judge_learnability
from fanin.diagnosis.findings.linear_model import judge_linear_model
from fanin.diagnosis.findings.lost_input import find_lost_input
from fanin.diagnosis.findings.lost_samples import judge_lost_samples
from fanin.diagnosis.findings.mixed_samples import judge_causality, judge_sample_independence
from fanin.diagnosis.findings.not_finite import judge_finite
from fanin.diagnosis.findings.output_fit import judge_output_fit
from fanin.diagnosis.findings.phase import judge_phase
from fanin.diagnosis.findings.recurrent_growth import judge_recurrent_growth
from fanin.diagnosis.findings.scale_judges import JUDGES as SCALE_JUDGES
from fanin.diagnosis.findings.sensitivity import judge_sensitivity
from fanin.diagnosis.findings.shrunk_output import find_shrunk_output
from fanin.diagnosis.findings.signal_drift import judge_drift
from fanin.diagnosis.findings.squashed_layers import find_squashed_layers
from fanin.diagnosis.findings.weight_judges import JUDGES as WEIGHT_JUDGES

Judge = Callable[[Examination], Iterator[Finding]]

JUDGES: tuple[Judge, ...] = (
    judge_finite,
    judge_output_fit,
    judge_linear_model,
    judge_data,
    judge_lost_samples,
    judge_drift,
    judge_recurrent_growth,
    find_lost_input,
    find_shrunk_output,
    judge_phase,
    judge_sensitivity,
    find_squashed_layers,
    judge_hidden_softmax,
    judge_dead_units,
    judge_saturation,
    judge_initial_loss,
    judge_label_prior,
    judge_learnability,
    judge_frozen,
    judge_attention,
    judge_dropout,
    judge_reach,
    judge_strays,
    judge_sample_independence,
    judge_causality,
    *WEIGHT_JUDGES,
    *SCALE_JUDGES,
)
