"""docs/reliability.md names tests that exist, and the counts that the storm tries."""

from __future__ import annotations

import re
from pathlib import Path

import test_storm
from combinations import for_each

HERE = Path(__file__).parent
TEXT = (HERE.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
FAULT_TABLES = TEXT.partition("## Large stores")[0]
ROWS = re.findall(
    r"^\| (?!Fault|File|-)(.+?) \| (.+?) \| (.+?) \|$", FAULT_TABLES, flags=re.MULTILINE
)
TESTS = {
    name
    for path in HERE.glob("test_*.py")
    for name in re.findall(r"^(?:def )?(test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}
FAULTS = [(fault, injected) for fault, injected, _ in ROWS if "`test_" in injected]
STORM = {kind: int(count) for kind, count, wrong in ROWS if wrong == "0"}


@for_each(("fault", "injected"), FAULTS)
def test_a_fault_is_injected_by_tests_that_exist(fault: str, injected: str) -> None:
    assert set(re.findall(r"`(test_\w+)`", injected)) <= TESTS


def test_the_table_is_not_empty_and_every_row_names_a_test() -> None:
    assert len(FAULTS) >= 50
    assert len(FAULTS) + len(STORM) == len(ROWS)


def test_the_storm_is_as_large_as_the_document_says() -> None:
    assert test_storm.CORRUPTIONS == STORM
