"""Advice: what repairs a finding, applied to a copy, measured again, and written as code."""

from fanin.diagnosis.advice.code import write_code
from fanin.diagnosis.advice.comparing import compare
from fanin.diagnosis.advice.comparison import ComparedStart, Comparison
from fanin.diagnosis.advice.copying import copy_model
from fanin.diagnosis.advice.fix_report import FixedFinding, FixReport
from fanin.diagnosis.advice.fixing import fix
from fanin.diagnosis.advice.patching import apply_patch, apply_patches

__all__ = [
    "ComparedStart",
    "Comparison",
    "FixReport",
    "FixedFinding",
    "apply_patch",
    "apply_patches",
    "compare",
    "copy_model",
    "fix",
    "write_code",
]
