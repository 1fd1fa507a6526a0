"""The judges: each reads an examination and yields findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.output_fit import judge_output_fit

Judge = Callable[[Examination], Iterator[Finding]]

JUDGES: tuple[Judge, ...] = (judge_output_fit,)
