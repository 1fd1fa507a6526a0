"""The judges that look at weights alone: where their numbers come from, and whether they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.identical_units import find_identical_units

JUDGES: tuple[Callable[[Examination], Iterator[Finding]], ...] = (find_identical_units,)
