"""Real bugs that survived in published code, or that people ask about again and again, rebuilt as
small models; each with the codes and places that are right, and a sound twin.
"""

from __future__ import annotations

from audit_faults import weight_bugs, wiring_bugs
from audit_faults.bug import RealBug

REAL_BUGS: dict[str, RealBug] = {
    bug.name: bug for bug in (*weight_bugs.LIST.bugs, *wiring_bugs.LIST.bugs)
}
"""By name."""
