"""What each finding's code means: title, meaning, causes, remedy, and an example that has it.

    get_kind("F012").meaning
    [kind.code for kind in list_kinds()]

Nothing here needs torch.
"""

from fanin.diagnosis.codes.finding_kind import FindingKind
from fanin.diagnosis.codes.known_kinds import get_kind, list_kinds

__all__ = ["FindingKind", "get_kind", "list_kinds"]
