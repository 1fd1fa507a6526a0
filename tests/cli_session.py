"""What the tests of the command line share: a command run in this process, and a study small enough
to be trained for real.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from fanin.cli import main

TINY = """
question = "Is the command line in order?"
replicates = 1
[base]
epochs = 2
[axes]
initializer = ["zero", "he_normal"]
[[grid]]
model = ["mlp(widths=[8], activation=relu)"]
data = ["digits"]
"""


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def record(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def fanin(*words: object) -> Done:
    """Run ``fanin`` with these words."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    return Done(code, out.getvalue(), err.getvalue())
