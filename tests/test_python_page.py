"""docs/python.md: its code runs, and it names every public method of Study, Results and Record."""

from __future__ import annotations

import inspect
import re
from functools import partial
from pathlib import Path

import pytest

import fanin
from fanin import seeds
from fanin.apply.record import Record
from fanin.report.results import Results
from fanin.study.study import Study

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(
    tmp_path: Path, preloaded_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, example in enumerate(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)):
        with seeds.preserve_torch_state(0):
            exec(compile(example, f"docs/python.md, block {number + 1}", "exec"), names)
    results = names["results"]
    assert isinstance(results, Results)
    assert results.outcomes == {"ok": 4}
    assert (tmp_path / "page.html").is_file()
    check_notebook_views(results, names["study"])


def check_notebook_views(results: Results, study: object) -> None:
    """What a notebook shows says the same as the text, and escapes names."""
    shown = results._repr_html_()
    assert shown.count("<tr>") == 1 + 1 + 2
    for entry in results.table().rows[0]:
        assert entry.text in shown
    assert isinstance(study, Study)
    assert "<td>zero, he_normal</td>" in study._repr_html_()


@pytest.mark.parametrize("cls", [Study, Results, Record])
def test_every_public_method_is_on_the_page(cls: type) -> None:
    methods = [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_") and (callable(value) or inspect.isdatadescriptor(value))
    ]
    assert [name for name in methods if not re.search(rf"\b{name}\b", PAGE)] == []


def test_a_notebook_gains_no_element_from_names() -> None:
    study = Study(
        "<script>",
        "<b>?",
        base={"model": "mlp", "data": "digits"},
        axes={"initializer": [{"label": "<i>", "use": "zero"}]},
    )
    assert "<script>" not in study._repr_html_()
    assert "<b>" not in study._repr_html_()
    assert "<i>" not in Results(study.plan(), {})._repr_html_()
    assert "<script>" not in Results(study.plan(), {})._repr_html_()


def test_labels_that_hold_commas_are_told_apart() -> None:
    specs = ["normal(mean=0, std=1)", "zero"]
    study = Study("x", base={"model": "mlp", "data": "digits"}, axes={"initializer": specs})
    assert study.summarize()["initializer"] == "normal(mean=0, std=1); zero"


def test_progress_is_shown_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    from fanin.execution.observer import CallbackObserver
    from fanin.experiment import choose_observer
    from fanin.progress.progress_display import ProgressDisplay

    def print_event(_: object) -> None:
        """Do nothing."""

    for watched in (True, False):
        monkeypatch.setattr("fanin.progress.progress_display.is_watched", partial(bool, watched))
        shown = choose_observer(CallbackObserver(), None)
        assert isinstance(shown, ProgressDisplay) is watched
        assert isinstance(choose_observer(CallbackObserver(), True), ProgressDisplay)
        assert choose_observer(CallbackObserver(), False) == CallbackObserver()
        assert isinstance(choose_observer(CallbackObserver(print_event), None), CallbackObserver)
    with pytest.raises(fanin.FaninError, match="progress=True"):
        choose_observer(CallbackObserver(print_event), True)
