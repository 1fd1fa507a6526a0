"""What a page says about how to continue is run here, and trains what is missing."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path

import pytest
from cli_session import TINY, fanin

import fanin as library
from fanin.cli.written_files import WrittenFiles
from fanin.experiment import load_results
from fanin.study.python_call import format_python_call
from fanin.study.study import Study


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preloaded_workers: None) -> Path:
    monkeypatch.chdir(tmp_path)
    nothing = WrittenFiles({}, ())  # drawing takes longer than all else
    monkeypatch.setattr("fanin.cli.written_files.write_files", lambda *_, **__: nothing)
    Path("my study.toml").write_text(TINY.replace("epochs = 2", "epochs = 3"))
    return tmp_path


def continued_by(folder: Path | str) -> str:
    """The command on the page of a results folder."""
    page = load_results(folder).report(Path("page.html")).read_text()
    found = re.search(r"<h2[^>]*>Continue.*?<pre><code>(.*?)</code></pre>", page, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def test_the_command_line_of_a_run_is_on_the_page_and_trains_the_same_cells() -> None:
    options = ["--only", "initializer=zero", "--max-epochs", 1, "--replicates", 2, "--workers", 1]
    first = fanin("run", "my study.toml", "--out", "out's", *options, "--json")
    assert (first.code, first.record["trained"]) == (0, 2)
    command = continued_by("out's")
    words = shlex.split(command)
    assert words[:5] == ["fanin", "run", "my study.toml", "--out", "out's"]
    again = fanin(*words[1:], "--json")
    assert (again.code, again.record["trained"]) == (0, 0)
    assert continued_by("out's") == command


def test_the_call_of_a_run_in_python_is_on_the_page_and_trains_nothing_more() -> None:
    study = Study.load("my study.toml").override(max_epochs=1)
    results = library.run(study, "out", only={"initializer": ["zero"]}, workers=1)
    assert results.run_summary is not None
    assert results.run_summary.trained == 1
    call = continued_by("out")
    assert call == (
        "import fanin; fanin.run('out/study.toml', out='out', only={'initializer': ['zero']}, "
        "workers=1)"
    )
    statement, _, expression = call.partition("; ")
    assert statement == "import fanin"
    again = eval(expression, {"fanin": library})
    assert again.run_summary.trained == 0
    assert again.outcomes == {"ok": 1}


def test_a_study_is_named_by_what_loads_the_same() -> None:
    folder, file = Path("out"), Study.load("my study.toml")
    calls = {
        "'quick'": Study.load("quick"),
        "'my study.toml'": file,
        "'out/study.toml'": file.override(replicates=3),
    }
    for source, study in calls.items():
        call = format_python_call(study, folder, {"replicates": None, "device": "cpu"})
        assert call == f"import fanin; fanin.run({source}, out='out')"
