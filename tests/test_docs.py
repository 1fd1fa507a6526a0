"""Documents cannot go stale: commands, versions, links and examples are checked against the
package.
"""

from __future__ import annotations

import importlib.util
import re
import runpy
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from fanin import __version__
from fanin.cli.app import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "studies").glob("*.md")),
    *sorted((ROOT / "docs" / "findings").glob("*.md")),
]


def commands() -> Iterator[tuple[str, typer.main.CommandInfo | object]]:
    """Every command's words, and what runs it."""
    for group, prefix in [
        (app, ""),
        *(
            (found.typer_instance, f"{found.typer_instance.info.name} ")
            for found in app.registered_groups
            if found.typer_instance
        ),
    ]:
        for command in group.registered_commands:
            assert command.callback is not None
            yield prefix + (command.name or command.callback.__name__), command.callback


COMMANDS = dict(commands())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_teaches(command: str) -> None:
    text = COMMANDS[command].__doc__ or ""
    assert len(text.splitlines()[0]) < 75
    assert "Exit codes: 0 " in text
    assert f"fanin {command}" in text or command in ("data list", "data path")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_stands_in_the_readme(command: str) -> None:
    group, _, last = command.rpartition(" ")
    assert re.search(rf"`fanin {group}.*`{last}`|`fanin {command}\b", README)


def test_commands_that_do_not_exist_are_not_in_the_readme() -> None:
    named = set(
        re.findall(
            r"\bfanin ([a-z]+)\b",
            " ".join(re.findall(r"`fanin[^`]*`|^fanin .*$", README, flags=re.MULTILINE)),
        )
    )
    assert named <= {command.partition(" ")[0] for command in COMMANDS}


@pytest.mark.parametrize("number", range(README.count("```python")))
def test_the_examples_of_the_readme_run(
    number: int, tmp_path: Path, preloaded_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fanin import seeds

    example = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[number]
    # The first one builds the model that it audits, and reads real data.
    most = 14 if number == 0 else 8
    assert len([line for line in example.splitlines() if line.strip()]) <= most
    monkeypatch.chdir(tmp_path)
    with seeds.preserve_torch_state(0):
        exec(compile(example, f"README example {number + 1}", "exec"), {})


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", ROOT / "docs" / "study-files.md"], ids=lambda path: path.name
)
def test_the_study_files_of_the_documents_plan(document: Path) -> None:
    from fanin.study.study import Study

    examples = re.findall(
        r"```toml\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert examples
    for text in examples:
        assert Study.from_toml(text, document.stem).plan().cells


def test_the_model_of_the_contributing_guide_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    import fanin
    from fanin import models

    (example,) = re.findall(
        r"```python\n(.*?)```",
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    monkeypatch.setattr(models.REGISTRY, "_entries", dict(models.REGISTRY._entries))
    module = types.ModuleType("shallow")
    monkeypatch.setitem(sys.modules, "shallow", module)
    exec(compile(example, "the model of CONTRIBUTING.md", "exec"), vars(module))
    model = models.get("shallow(width=5, activation=swish)").build((1, 8, 8), 3)
    assert {record.name for record in fanin.initialize(model, "auto", seed=0)} == set(
        dict(model.named_parameters())
    )
    assert "shallow" in models.names()


def test_every_file_of_the_models_is_imported() -> None:
    from fanin import models

    here = {path.stem for path in (ROOT / "src" / "fanin" / "models").glob("*.py")} - {"__init__"}
    assert {
        name.rpartition(".")[2] for name in sys.modules if name.startswith("fanin.models.")
    } >= here
    assert models.names()


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    versions = re.findall(
        r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert versions[0] == __version__


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    named = re.findall(r"`((?:src|docs|tests)/[\w/.-]+)`", text)
    assert [name for name in linked if not (document.parent / name).exists()] == []
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_target_of_the_makefile_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert [
        target
        for target in targets.split()
        if not re.search(rf"^{target}:.*## ", makefile, flags=re.MULTILINE)
    ] == []


def test_constraints_pin_torch_for_every_platform() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert any(re.fullmatch(r"torch==\d+\.\d+\.\d+", line) for line in lines)
    assert [
        line for line in lines if line.strip() and not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)
    ] == []


@pytest.mark.parametrize("page", ["case_study", "catalogue", "claims", "speed", "studies"])
def test_a_generated_page_is_what_its_sources_give(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(page, monkeypatch)


def test_the_record_page_is_what_initialize_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip('needs the extra "peers"')
    check("record", monkeypatch)


def test_the_structure_page_is_what_describe_structure_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip('needs the extra "peers"')
    check("structure", monkeypatch)


def test_the_pages_of_findings_are_what_the_audit_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    check("findings", monkeypatch)


def check(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run ``python docs/PAGE.py --check`` in this process, which has imported torch already."""
    script = ROOT / "docs" / f"{page}.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--check"])
    monkeypatch.syspath_prepend(script.parent)
    before = set(sys.modules)
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(script), run_name="__main__")
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(f"{ROOT}/"):
            monkeypatch.delitem(sys.modules, name)
    assert done.value.code == 0, f"Run: python docs/{page}.py"
