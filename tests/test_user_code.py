"""References: what a user's file or package may look like, and the errors for unusable ones."""

from __future__ import annotations

import hashlib
import os
import random
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from user_code_files import write_file

from fanin import specs, user_code
from fanin.errors import FitError, SpecError, UnknownName, UsageError, UserCodeError
from fanin.user_code import DATASET, METRIC, MODEL, OPTIMIZER, Contract

FREE = Contract(kind="a thing", call="make(*, option=default)", returns="a thing")


def make_options(folder: Path, signature: str, **given: Any) -> Any:
    """The options of a function ``make`` with that signature, the given ones set."""
    path = write_file(
        folder, f"from typing import *\nfrom torch import Tensor\ndef make({signature}): ..."
    )
    component = user_code.load_component(f"{path}:make", FREE)
    return specs.construct(component.name, component.options, given)


# What a reference looks like


@pytest.mark.parametrize(
    "name",
    [
        "mine.py:make",
        "../a b/my-file.v2.py:make_2",
        "/abs/mine.py:Make",
        "~/mine.py:make",
        "package.module:make",
        "module:f",
    ],
)
def test_a_reference_is_the_name_of_a_spec_and_survives_rendering(name: str) -> None:
    assert user_code.has_reference(f"{name}(width=64)")
    assert specs.parse(f"{name}(width=64)") == (name, {"width": 64})
    assert specs.parse(specs.render(name, {"width": 64})) == (name, {"width": 64})


@pytest.mark.parametrize(
    "text",
    [
        "mlp",
        "he_normal(mode='a.py:make')",
        "mine.py",
        "mine.py:",
        "mine.py:a.b",
        ":make",
        "a\n.py:make",
        "a b:make",
        3,
    ],
)
def test_other_texts_are_no_references(text: object) -> None:
    assert not user_code.has_reference(text)


def test_a_file_without_a_callable_is_told_what_is_missing() -> None:
    with pytest.raises(SpecError, match=r"my_file\.py:make"):
        specs.parse("mine.py")


# Loading


def test_a_file_is_loaded_with_the_hash_of_its_bytes(tmp_path: Path) -> None:
    path = write_file(tmp_path, "def make(): return 3")
    loaded = user_code.load(f"{path}:make")
    assert loaded.function() == 3
    assert loaded.file == Path(path)
    assert loaded.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_relative_path_is_looked_for_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path, "def make(): return 3")
    monkeypatch.chdir(tmp_path)
    assert user_code.load("./mine.py:make").reference == "mine.py:make"


def test_an_installed_module_is_loaded_with_the_hash_of_its_source() -> None:
    loaded = user_code.load("fractions:Fraction")
    assert loaded.function is __import__("fractions").Fraction
    assert loaded.sha256 == hashlib.sha256(loaded.file.read_bytes()).hexdigest()


def test_the_same_content_is_imported_once_and_a_changed_file_anew(tmp_path: Path) -> None:
    path = write_file(tmp_path, "def make(): return 3")
    first, again = user_code.load(f"{path}:make"), user_code.load(f"{path}:make")
    status = Path(path).stat()
    write_file(tmp_path, "def make(): return 4")
    os.utime(
        path, ns=(status.st_atime_ns, status.st_mtime_ns)
    )  # same size, same time: byte code that was kept would be taken
    assert first is not user_code.load(f"{path}:make")
    assert first == again
    assert first.function is again.function
    assert (first.function(), user_code.load(f"{path}:make").function()) == (3, 4)


def test_loading_writes_no_byte_code_beside_the_users_file(tmp_path: Path) -> None:
    user_code.load(f"{write_file(tmp_path, 'def make(): ...')}:make")
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.py"]


def test_a_file_replaces_no_module_of_its_name(tmp_path: Path) -> None:
    import fractions

    user_code.load(f"{write_file(tmp_path, 'def make(): ...', 'fractions.py')}:make")
    assert sys.modules["fractions"] is fractions


def test_two_files_each_import_their_own_sibling(tmp_path: Path) -> None:
    for folder, number in (("one", 1), ("two", 2)):
        write_file(tmp_path / folder, f"NUMBER = {number}", "its_layers.py")
        write_file(tmp_path / folder, "from its_layers import NUMBER\ndef make(): return NUMBER")
    assert [
        user_code.load(f"{tmp_path / folder}/mine.py:make").function() for folder in ("one", "two")
    ] == [1, 2]
    assert str(tmp_path / "one") not in sys.path


def test_what_a_file_imports_from_another_folder_stays_the_same_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "site", "", "installed_one.py")
    monkeypatch.syspath_prepend(tmp_path / "site")
    for folder in ("one", "two"):
        write_file(tmp_path / folder, "import installed_one\ndef make(): return installed_one")
    one, two = (
        user_code.load(f"{tmp_path / folder}/mine.py:make").function() for folder in ("one", "two")
    )
    assert one is two


def test_a_dataclass_with_annotations_as_text_can_be_defined_in_a_file(tmp_path: Path) -> None:
    path = write_file(
        tmp_path,
        """
        from __future__ import annotations
        from dataclasses import dataclass
        @dataclass(frozen=True)
        class Make:
            width: int = 64
        """,
    )
    assert user_code.load_component(f"{path}:Make", FREE).options().width == 64


def test_importing_and_calling_leave_the_callers_random_state(tmp_path: Path) -> None:
    path = write_file(
        tmp_path,
        "import random, torch\nrandom.seed(5); torch.manual_seed(5)\ndef make(): return "
        "random.random(), torch.rand(())",
    )
    component = user_code.load_component(f"{path}:make", FREE)
    before = random.getstate(), torch.get_rng_state()
    component.call(component.options())
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_several_threads_load_one_module(tmp_path: Path) -> None:
    path = write_file(tmp_path, "import time\ntime.sleep(0.05)\ndef make(): ...")
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(user_code.load(f"{path}:make").function))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1


# Mistakes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ndef make(:", r"SyntaxError: .*\(mine\.py, line 2\)"),
        ("import math\n\nmath.sqrt(-1)", r"ValueError: math domain error \(mine\.py, line 3\)"),
        ("import no_such_module_here", r"ModuleNotFoundError: .*no_such_module_here.*line 1"),
        ("import sys\nsys.exit(3)", r"SystemExit: 3 \(mine\.py, line 2\)"),
        ("make = 3", r"make is 3, which cannot be called"),
        ("\0", r"cannot be imported"),
    ],
    ids=["syntax", "raises", "import", "exit", "not callable", "null byte"],
)
def test_a_file_that_cannot_be_used_is_named_with_the_line(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(UserCodeError, match=said) as caught:
        user_code.load(f"{write_file(tmp_path, text)}:make")
    assert "mine.py" in str(caught.value)


def test_a_file_that_failed_can_be_repaired(tmp_path: Path) -> None:
    path = write_file(tmp_path, "1 / 0")
    with pytest.raises(UserCodeError):
        user_code.load(f"{path}:make")
    write_file(tmp_path, "def make(): ...")
    assert user_code.load(f"{path}:make")
    assert [
        m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", "") == path
    ] == [path]


def test_a_syntax_error_in_a_sibling_names_the_sibling(tmp_path: Path) -> None:
    write_file(tmp_path, "def (", "broken_sibling.py")
    with pytest.raises(UserCodeError, match=r"broken_sibling\.py, line 1"):
        user_code.load(f"{write_file(tmp_path, 'import broken_sibling')}:make")


def test_a_missing_file_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    write_file(tmp_path, "")
    with pytest.raises(UserCodeError, match=r"no file .*nime\.py.*mine\.py"):
        user_code.load(f"{tmp_path}/nime.py:make")


def test_a_missing_callable_is_told_with_near_names(tmp_path: Path) -> None:
    file = write_file(tmp_path, "from math import cos\ndef make_model(): ...")
    with pytest.raises(UnknownName, match="Did you mean make_model"):
        user_code.load(f"{file}:make_modle")


def test_the_callables_offered_are_those_that_the_file_defines(tmp_path: Path) -> None:
    file = write_file(tmp_path, "from math import cos\ndef other(): ...\ndef build(): ...")
    with pytest.raises(UnknownName, match="Known: build, other") as caught:
        user_code.load(f"{file}:zzz")
    assert "cos" not in str(caught.value)


@pytest.mark.parametrize("reference", ["no_such_package_here:make", "fractions.no_such:make"])
def test_a_module_that_is_not_installed_is_named(reference: str) -> None:
    with pytest.raises(UserCodeError, match=r"no module \S+ is installed"):
        user_code.load(reference)


@pytest.mark.parametrize(
    "reference",
    [
        "mlp",
        "mine.py",
        "mine.py:make(width=1)",
        "~nobody-of-that-name/mine.py:make",
        "x" * 5000 + ".py:f",
    ],
)
def test_any_text_is_a_reference_or_a_usage_error(reference: str) -> None:
    with pytest.raises(UsageError):
        user_code.load(reference)


def test_keyboard_interrupts_pass(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        user_code.load(f"{write_file(tmp_path, 'raise KeyboardInterrupt')}:make")


# Options


@pytest.mark.parametrize(
    ("signature", "value", "became"),
    [
        ("*, x=64", 32, 32),
        ("*, x: int = 64", 32, 32),
        ("*, x=2.0", 3, 3.0),
        ("*, x: float = 2", 3, 3.0),
        ("x='a'", "b", "b"),
        ("x: Literal['a', 'b'] = 'a'", "b", "b"),
        ("*, x=False", True, True),
        ("*, x=None", "relu", "relu"),
        ("*, x: float | None = None", 1, 1.0),
        ("*, x: Optional[str] = None", None, None),
        ("*, x=(64, 32)", (1, 2, 3), (1, 2, 3)),
        ("*, x: tuple[int, ...] = (64, 32)", (1,), (1,)),
        ("*, x: tuple[float | Tensor, float | Tensor] = (0.9, 0.999)", (0, 1), (0.0, 1.0)),
        ("*, x: float | Tensor = 0", 1, 1.0),
        ("*, x: Any = 1", 2, 2),
        ("*, x: int", 2, 2),
    ],
)
def test_an_option_accepts_what_its_annotation_or_its_default_says(
    tmp_path: Path, signature: str, value: object, became: object
) -> None:
    found = make_options(tmp_path, signature, x=value).x
    assert (found, type(found)) == (became, type(became))


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        ("x=64", 1.5),
        ("x=64", True),
        ("x: Literal['a'] = 'a'", "b"),
        ("x: float = 1", "a"),
        ("x=(1, 2)", (1.5,)),
        ("x=True", 1),
    ],
)
def test_an_option_of_another_type_is_refused(
    tmp_path: Path, signature: str, value: object
) -> None:
    with pytest.raises(SpecError, match="must be"):
        make_options(tmp_path, signature, x=value)


@pytest.mark.parametrize(
    "signature",
    [
        "x=[1]",
        "x={}",
        "x=()",
        "x=(1, 'a')",
        "x=print",
        "x: Tensor = None",
        "x: list[int] = (1,)",
        "x: int = 1.5",
        "x: float = float('nan')",
        "*, x",
    ],
)
def test_an_option_that_no_spec_can_write_is_refused_by_name(
    tmp_path: Path, signature: str
) -> None:
    with pytest.raises(SpecError, match=r"mine\.py:make\(x=…\)"):
        make_options(tmp_path, signature)


def test_an_unknown_option_is_told_with_near_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean width"):
        make_options(tmp_path, "*, width=64", widht=32)


def test_an_option_without_a_default_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="needs x"):
        make_options(tmp_path, "*, x: int")


def test_an_annotation_that_cannot_be_evaluated_gives_way_to_the_default(tmp_path: Path) -> None:
    assert make_options(tmp_path, "*, x: 'NoSuchName' = 64", x=32).x == 32


def test_options_at_their_defaults_are_left_out_of_the_identity(tmp_path: Path) -> None:
    component = user_code.load_component(
        f"{write_file(tmp_path, 'def make(*, a=1, b=2): ...')}:make", FREE
    )
    assert (
        specs.render_canonical(
            component.name, specs.construct(component.name, component.options, {"b": 3, "a": 1})
        )
        == f"{component.name}(b=3)"
    )


# Contracts


def test_the_first_parameters_are_passed_and_the_others_are_options(tmp_path: Path) -> None:
    path = write_file(
        tmp_path,
        "def make(shape, n, width=64, *, depth=2, vocabulary): return shape, n, width, depth, "
        "vocabulary",
    )
    component = user_code.load_component(f"{path}:make", MODEL)
    options = specs.construct(component.name, component.options, {"depth": 3})
    assert component.accepts == ("vocabulary",)
    assert component.call(options, (4,), 10, vocabulary=7, per_step=True) == ((4,), 10, 64, 3, 7)


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        ("", "no parameter for input_shape and outputs"),
        ("shape", "no parameter for outputs"),
        ("shape, outputs, width", "nothing is passed for width"),
        ("width=64, depth=2", "its parameter width is where input_shape is passed"),
        ("*, input_shape, outputs", "no parameter for input_shape and outputs"),
    ],
)
def test_a_callable_that_cannot_be_called_as_its_kind_is_refused(
    tmp_path: Path, signature: str, why: str
) -> None:
    with pytest.raises(UserCodeError, match=f"{why}.*Expected make\\(input_shape, outputs"):
        user_code.load_component(
            f"{write_file(tmp_path, f'def make({signature}): ...')}:make", MODEL
        )


def test_a_component_is_the_same_as_long_as_its_file_is(tmp_path: Path) -> None:
    path = write_file(tmp_path, "def make(*, n=1): ...")
    component = user_code.load_component(f"{path}:make", DATASET)
    assert component is user_code.load_component(f"{path}:make", DATASET)
    write_file(tmp_path, "def make(*, n=2): ...")
    assert user_code.load_component(f"{path}:make", DATASET).options().n == 2


def test_optimizers_of_torch_are_user_components_as_they_are() -> None:
    component = user_code.load_component("torch.optim:SGD", OPTIMIZER)
    made = component.call(
        specs.construct(component.name, component.options, {"momentum": 0.9}),
        [torch.nn.Parameter(torch.zeros(2))],
        0.1,
    )
    assert isinstance(made, torch.optim.SGD)
    assert (made.defaults["lr"], made.defaults["momentum"]) == (0.1, 0.9)


def test_an_error_of_the_users_code_is_told_with_its_line(tmp_path: Path) -> None:
    component = user_code.load_component(
        f"{write_file(tmp_path, 'def make(*, k=1):' + chr(10) + '    return 1 / (k - 5)')}:make",
        METRIC,
    )
    with pytest.raises(
        FitError, match=r"make\(k=5\) raised ZeroDivisionError: .*\(mine\.py, line 2\)"
    ):
        component.call(component.options(k=5))


def test_a_wrong_return_value_is_named(tmp_path: Path) -> None:
    component = user_code.load_component(f"{write_file(tmp_path, 'def make(): ...')}:make", METRIC)
    assert "must return a function of (outputs, targets)" in str(component.make_return_error(None))


def test_a_seeded_call_draws_the_same_from_torchs_global_generator(tmp_path: Path) -> None:
    file = write_file(tmp_path, "import torch\ndef make(): return torch.rand(3)")
    component = user_code.load_component(f"{file}:make", FREE)
    one, two, other = (component.call(component.options(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


# Sources


def test_the_sources_of_a_cell_are_its_references_and_their_hashes(tmp_path: Path) -> None:
    path = write_file(tmp_path, "def make(*, n=1): ...\ndef other(): ...")
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    found = user_code.hash_sources(
        [f"{path}:make(n=2)", "adam", None, f"{path}:other", f"{path}:make"]
    )
    assert found == ((f"{path}:make", sha256), (f"{path}:other", sha256))


def test_a_source_that_changed_is_found(tmp_path: Path) -> None:
    path = write_file(tmp_path, "def make(): ...")
    recorded = user_code.hash_sources([f"{path}:make"])
    user_code.require_unchanged(recorded)
    write_file(tmp_path, "def make(): return 1")
    with pytest.raises(UserCodeError, match="has changed"):
        user_code.require_unchanged(recorded)


def test_every_contract_is_in_the_document() -> None:
    text = (Path(__file__).parent.parent / "docs" / "user-components.md").read_text(
        encoding="utf-8"
    )
    assert [
        c.call for c in user_code.CONTRACTS if c.call.replace("option=default", "…") not in text
    ] == []
