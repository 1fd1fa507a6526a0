"""The audit: what is wrong with a model's start, why, and how to repair it.

probe (measure) → theory (predict) → findings (judge) → advice (remedy, measured again).
"""

from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.model_audit import Audit, audit
from fanin.diagnosis.patch import Patch

__all__ = ["Audit", "Finding", "Patch", "Severity", "audit"]
