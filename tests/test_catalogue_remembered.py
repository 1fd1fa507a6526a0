"""The catalogue answers without torch if it was asked before, and with the light core alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fanin import catalogue
from fanin.catalogue.remembered import RememberedCatalogue
from fanin.errors import UnknownName, UsageError

ASKED = ("he_normal", "models:mlp", "digits", "quick", "metrics:accuracy")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in which a catalogue remembers its answers to `ASKED`."""
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path / "data"))
    known = RememberedCatalogue(tmp_path / "cache" / "catalogue.json")
    for text in ASKED:
        assert known.find(text) == catalogue.find(text)
    assert known.names("study") == catalogue.names("studies")
    assert known.summarize("studies", "quick") == catalogue.summarize("studies", "quick")
    known.save()
    return tmp_path / "cache" / "catalogue.json"


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError(f"asked for {arguments}")

    for name in ("names", "describe", "summarize"):
        monkeypatch.setattr(catalogue, name, fail)


def test_answers_are_remembered_until_something_changes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [catalogue.find(text) for text in ASKED]
    studies = catalogue.names("studies")
    with monkeypatch.context() as patch:
        forbid(patch)
        again = RememberedCatalogue(file)
        assert [again.find(text) for text in ASKED] == expected
        assert again.names("studies") == studies
        with pytest.raises(UnknownName, match=r"he_normal"):
            again.find("he_norml")
        with pytest.raises(UsageError, match=r"siren"):
            again.find("siren")
    copy = Path(os.environ["FANIN_DATA_DIR"]) / "mine" / "mine.npz"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"")
    assert "mine" in RememberedCatalogue(file).names("datasets")


def test_a_damaged_file_and_a_folder_that_cannot_be_written_cost_nothing_but_time(
    file: Path, tmp_path: Path
) -> None:
    for content in (b"", b"[]", b"\xff", b'{"key": 1}', file.read_bytes()[:-9]):
        file.write_bytes(content)
        assert RememberedCatalogue(file).names("metrics") == catalogue.names("metrics")
    (tmp_path / "file").write_bytes(b"")
    known = RememberedCatalogue(tmp_path / "file" / "catalogue.json")
    assert known.names("metrics") == catalogue.names("metrics")
    known.save()


def run_python(code: str, folder: Path) -> str:
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder), "HOME": str(folder)}
    environment.pop("FANIN_DATA_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_second_command_imports_no_torch_and_says_the_same(tmp_path: Path) -> None:
    code = (
        "import sys; from fanin.cli import main; main(['show', 'he_normal']); "
        "sys.exit({} != ('torch' in sys.modules))"
    )
    assert run_python(code.format(True), tmp_path) == run_python(code.format(False), tmp_path)


def test_lists_need_the_light_core_only(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "extra = 'scipy pandas sklearn pooch requests urllib3 safetensors jinja2 matplotlib '\n"
        "extra += 'tomli_w'\n"
        "sys.modules.update(dict.fromkeys(extra.split()))\n"
        "from fanin.cli import main\n"
        "codes = [main(['list', 'studies']), 'torch' in sys.modules, main(['list'])]\n"
        "sys.exit(codes != [0, False, 0])"
    )
    listed = run_python(code, tmp_path)
    assert "  quick " in listed
    assert "studies " in listed
