"""Plug-ins that are really installed, as far as Python can tell: broken ones cost themselves only,
and no command waits for a plug-in that it does not need.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from faults.harness import import_path

MODULES = {
    "fanin_good": """
        from dataclasses import dataclass, replace
        from fanin.initializers.initializer_entry import REGISTRY
        from fanin.initializers.lecun import LecunNormal

        @dataclass(frozen=True)
        class Ours(LecunNormal):
            name = "ours"

        entry = replace(REGISTRY.get("lecun_normal"), component=Ours)
        taken = REGISTRY.get("he_normal")
        """,
    "fanin_raises": "raise ImportError('no module named torch_of_the_past')",
    "fanin_exits": "import sys; sys.exit('this plug-in needs a licence')",
    "fanin_prints": 'print(\'{"thank": "you"}\')\nentry = 3',
    "fanin_syntax": "def (",
    "fanin_slow": "import pathlib, time\npathlib.Path(__file__).with_suffix('.imported').touch()",
}
"""Module → what happens when it is imported."""

POINTS = """
[fanin.initializers]
raises = fanin_raises:entry
exits = fanin_exits:entry
prints = fanin_prints:entry
syntax = fanin_syntax:entry
absent = fanin_absent:entry
taken = fanin_good:taken
ours = fanin_good:entry
slow = fanin_slow:entry
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder of installed packages: the plug-ins, and a distribution that registers them."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    about = tmp_path / "fanin_plugins-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fanin-plugins\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(POINTS)
    return tmp_path


def fanin(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    home = {"XDG_CACHE_HOME": str(installed / "cache")}  # the catalogue is not remembered
    return subprocess.run(
        [sys.executable, "-m", "fanin", *words],
        cwd=installed,
        env={**os.environ, **home, "PYTHONPATH": import_path(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_broken_plugins_are_left_out_by_name_and_the_others_work(installed: Path) -> None:
    done = fanin(installed, "list", "initializers", "--json")
    assert done.returncode == 0, done.stderr
    names = [entry["name"] for entry in json.loads(done.stdout)["entries"]]
    assert "ours" in names
    assert names.count("he_normal") == 1
    for point, reason in {
        "raises": "no module named torch_of_the_past",
        "exits": "this plug-in needs a licence",
        "prints": "fanin_prints:entry is neither",
        "syntax": "invalid syntax",
        "absent": "No module named 'fanin_absent'",
        "taken": "called he_normal already",
        "slow": "has no attribute 'entry'",
    }.items():
        (line,) = [
            line
            for line in done.stderr.splitlines()
            if f"initializer {point} of fanin-plugins 1.2 is left out" in line
        ]
        assert reason in line


def test_no_command_waits_for_a_plugin_that_it_does_not_need(installed: Path) -> None:
    for words in (["--help"], ["--version"], ["run", "--help"], ["status", "."], ["list"]):
        fanin(installed, *words)
        if words != ["list"]:
            assert not (installed / "fanin_slow.imported").exists(), words
    assert (installed / "fanin_slow.imported").exists()
