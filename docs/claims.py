"""Write docs/claims.md: the claims of the case study, their criteria and what became of them.

python docs/claims.py            # reads results/*.jsonl, writes the page and its figures
python docs/claims.py --check    # writes nothing; fails if the page does not fit the results
"""

from __future__ import annotations

from pathlib import Path

from pages import wrap, write_or_check

from fanin import claims
from fanin.claims.claim import Claim

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "claims.md"


def render_criteria() -> str:
    """The criteria of all claims as a table."""
    head = "| claim | supported if | refuted if | smallest effect of interest | read from |\n"
    head += "|---|---|---|---|---|\n"
    return head + "\n".join(_render_criterion(claims.get(name)) for name in claims.names())


def _render_criterion(claim: Claim) -> str:
    sources = [f"`{name}`" + "†" * (name in claim.seen_before) for name in claim.studies]
    sources += [f"observation *{name}*" for name in claim.observations]
    texts = (claim.supported_if, claim.refuted_if, claim.smallest_effect)
    cells = [f"**{claim.name}**: {claim.statement}", *texts, ", ".join(sources)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    """Write or check the page."""
    parts = [wrap("# Claims, put to the test"), "## The criteria", render_criteria()]
    return write_or_check(PAGE, "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
