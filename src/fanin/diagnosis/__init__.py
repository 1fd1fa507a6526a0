"""The audit: what is wrong with a model's start, why, and how to repair it.

probe (measure) → theory (predict) → findings (judge) → advice (remedy, measured again); forecast
(whether training will work).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanin.diagnosis.coordinate_record import CoordinateCheck
    from fanin.diagnosis.coordinates import coordinate_check
    from fanin.diagnosis.finding import Finding, Severity
    from fanin.diagnosis.forecast import Forecast
    from fanin.diagnosis.healthy import UnhealthyStart, assert_healthy
    from fanin.diagnosis.model_audit import Audit, audit
    from fanin.diagnosis.patch import Patch

__all__ = [
    "Audit",
    "CoordinateCheck",
    "Finding",
    "Forecast",
    "Patch",
    "Severity",
    "UnhealthyStart",
    "assert_healthy",
    "audit",
    "coordinate_check",
]

# Imported when first used: what a code means (`codes`) is said without torch.
_HOMES = {
    "Audit": "model_audit",
    "CoordinateCheck": "coordinate_record",
    "Finding": "finding",
    "Forecast": "forecast",
    "Patch": "patch",
    "Severity": "finding",
    "UnhealthyStart": "healthy",
    "assert_healthy": "healthy",
    "audit": "model_audit",
    "coordinate_check": "coordinates",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'fanin.diagnosis' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fanin.diagnosis.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
