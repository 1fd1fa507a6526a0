"""`slow_tests.txt` names tests that there are."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
LINES = (TESTS / "slow_tests.txt").read_text(encoding="utf-8").splitlines()


def test_every_slow_test_exists_and_is_named_once() -> None:
    missing = []
    for line in LINES:
        file, _, name = line.removeprefix("tests/").partition("[")[0].partition("::")
        path = TESTS / file
        if not path.exists() or name not in path.read_text(encoding="utf-8"):
            missing.append(line)
    assert missing == []
    assert sorted(set(LINES)) == LINES
