"""The judges that look at weights alone: where their numbers come from, and whether they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.empty_rows import find_empty_rows
from fanin.diagnosis.findings.half_range import find_range_errors
from fanin.diagnosis.findings.identical_layers import find_identical_layers
from fanin.diagnosis.findings.identical_units import find_identical_units
from fanin.diagnosis.findings.loaded_weights import find_lost_weights
from fanin.diagnosis.findings.low_precision import find_low_precision
from fanin.diagnosis.findings.repeated_streams import find_repeated_streams
from fanin.diagnosis.findings.unfilled_parameters import find_unfilled_parameters
from fanin.diagnosis.findings.unfilled_rows import find_unfilled_rows
from fanin.diagnosis.findings.unlike_siblings import find_unlike_siblings

JUDGES: tuple[Callable[[Examination], Iterator[Finding]], ...] = (
    find_identical_units,
    find_identical_layers,
    find_repeated_streams,
    find_unfilled_parameters,
    find_unfilled_rows,
    find_empty_rows,
    find_unlike_siblings,
    find_low_precision,
    find_lost_weights,
    find_range_errors,
)
