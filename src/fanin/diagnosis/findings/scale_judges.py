"""The judges of scales: fans, packs, gains, residual streams, gates, embeddings, normalizations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.drawn_means import find_drawn_means
from fanin.diagnosis.findings.drowned_inputs import find_drowned_inputs
from fanin.diagnosis.findings.embeddings import find_embedding_scale
from fanin.diagnosis.findings.fan_axes import find_wrong_axes
from fanin.diagnosis.findings.far_gains import find_far_gains
from fanin.diagnosis.findings.gates import find_stuck_gates
from fanin.diagnosis.findings.hidden_biases import find_hidden_biases
from fanin.diagnosis.findings.huge_tables import find_huge_tables
from fanin.diagnosis.findings.library_defaults import find_library_defaults
from fanin.diagnosis.findings.misplaced_scaling import find_wrong_scaling
from fanin.diagnosis.findings.normalization_parameters import find_odd_norms
from fanin.diagnosis.findings.packed_gates import find_packed_gates
from fanin.diagnosis.findings.packed_projections import find_packed_projections
from fanin.diagnosis.findings.recurrent_gates import find_shut_gates
from fanin.diagnosis.findings.residual_growth import find_residual_growth
from fanin.diagnosis.findings.residual_scaling import find_unscaled_branches
from fanin.diagnosis.findings.scaled_tables import find_scaled_tables
from fanin.diagnosis.findings.ties import find_tied_conflicts
from fanin.diagnosis.findings.wrong_gains import find_wrong_gains

JUDGES: tuple[Callable[[Examination], Iterator[Finding]], ...] = (
    find_residual_growth,
    find_wrong_axes,
    find_packed_projections,
    find_packed_gates,
    find_wrong_gains,
    find_far_gains,
    find_drawn_means,
    find_hidden_biases,
    find_unscaled_branches,
    find_wrong_scaling,
    find_scaled_tables,
    find_embedding_scale,
    find_drowned_inputs,
    find_huge_tables,
    find_tied_conflicts,
    find_shut_gates,
    find_stuck_gates,
    find_odd_norms,
    find_library_defaults,
)
