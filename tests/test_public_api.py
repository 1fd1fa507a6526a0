"""The public names: what `__all__` says, what exists, what importing costs."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys

import pytest

import fanin

HEAVY = (
    "scipy",
    "pandas",
    "sklearn",
    "pydantic",
    "matplotlib",
    "jinja2",
    "pooch",
    "rich.console",
)

HAS_STUDIES = importlib.util.find_spec("tomli_w") is not None
NAMES = sorted(set(fanin.__all__) - ({"__version__"} if HAS_STUDIES else {"__version__", "Study"}))
"""The names that this installation has; `Study` needs the extra."""


def imported_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running the code."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_all_lists_what_exists_and_nothing_else() -> None:
    assert sorted(fanin.__all__) == fanin.__all__ == sorted({*fanin._HOMES, "__version__"})
    for name in NAMES:
        assert getattr(fanin, name) is not None
    assert dir(fanin) == sorted(fanin.__all__)


def test_every_public_name_lives_where_its_home_says() -> None:
    for name in NAMES:
        home = sys.modules[fanin._HOMES[name]]
        assert getattr(fanin, name) is getattr(home, fanin._OTHER_NAMES.get(name, name))


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_documented_and_so_are_its_methods(name: str) -> None:
    thing = getattr(fanin, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        methods = {
            m: f for m, f in vars(thing).items() if inspect.isfunction(f) and not m.startswith("_")
        }
        assert [m for m, f in methods.items() if not inspect.getdoc(f)] == []


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'initialise'"):
        fanin.__getattr__("initialise")


def test_a_name_that_needs_an_extra_says_how_to_install_it() -> None:
    code = """
import sys
sys.modules["tomli_w"] = None
import fanin
try:
    fanin.Study
except fanin.FaninError as error:
    print(error)
"""
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("fanin.Study needs ")
    assert 'pip install ".[study]"' in said


def test_importing_fanin_loads_neither_torch_nor_anything_heavy() -> None:
    loaded = imported_by("import fanin")
    assert loaded.isdisjoint({"torch", "numpy", *HEAVY})


def test_initializers_load_torch_and_nothing_heavier() -> None:
    loaded = imported_by(
        "import fanin; fanin.get('he_normal'); fanin.initialize; fanin.names('initializers')"
    )
    assert "torch" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_results_are_read_without_torch() -> None:
    loaded = imported_by(
        "from fanin.store import results_store; from fanin.execution import runner"
    )
    assert loaded.isdisjoint({"torch", *HEAVY})
