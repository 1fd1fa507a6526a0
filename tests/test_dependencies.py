"""What pyproject.toml declares is what the code imports, and constraints.txt pins all of it."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE: list[str] = PROJECT["dependencies"]
EXTRAS = {
    extra: [one for one in requirements if not one.startswith("fanin[")]
    for extra, requirements in PROJECT["optional-dependencies"].items()
}

MODULES = {
    "mlflow-skinny": "mlflow",
    "scikit-learn": "sklearn",
    "tensorflow-cpu": "tensorflow",
    "tomli-w": "tomli_w",
}
"""Distributions whose module has another name."""

TOOLS = {
    "alembic": "MLflow's store in a database",
    "mypy": "make lint",
    "sqlalchemy": "MLflow's store in a database",
    "ruff": "make lint",
    "pandas-stubs": "types for mypy",
    "pytest-cov": "make coverage",
    "pytest-timeout": "the option `timeout` of pytest",
    "pytest-xdist": "make test",
    "mkdocs-material": "the theme in mkdocs.yml",
    "mkdocstrings": "a plugin in mkdocs.yml",
}
"""Distributions that nothing imports, and what uses them."""


def name_of(requirement: str) -> str:
    """The distribution that a requirement such as ``numpy>=1.26`` names."""
    (name,) = re.findall(r"^[\w.-]+", requirement)
    return str(name)


def is_import(function: ast.expr) -> bool:
    """Whether a call of it imports, or asks for, the module that it is given by name."""
    called = getattr(function, "attr", getattr(function, "id", ""))
    if called == "require":
        return ast.unparse(function).endswith("errors.require")
    return called in ("importorskip", "import_module", "find_spec")


@functools.cache
def imports_of(*folders: str) -> set[str]:
    """Top-level modules that files in the folders import, at any depth."""
    found = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    found.add(node.module or "")
                elif isinstance(node, ast.Call) and is_import(node.func):
                    found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return {str(name).partition(".")[0] for name in found}


def test_every_dependency_is_imported_or_used_by_a_tool() -> None:
    package, everywhere = imports_of("src"), imports_of("tests", "docs", "benchmarks")
    unused = {
        f"{extra}: {name}"
        for extra, requirements in {"core": CORE, **EXTRAS}.items()
        for name in map(name_of, requirements)
        if name not in TOOLS
        and MODULES.get(name, name)
        not in (package if extra in ("core", "study") else package | everywhere)
    }
    assert unused == set()


def test_every_import_of_the_package_is_declared() -> None:
    declared = {MODULES.get(name, name) for name in map(name_of, [*CORE, *EXTRAS["study"]])}
    # A notebook has IPython, and a trainer that calls a callback is there: they are asked for only
    # there.
    # Trackers are extras of their own.
    others = {"fanin", "IPython", "transformers", "mlflow", ""}
    known = declared | sys.stdlib_module_names | others
    assert imports_of("src") - known == set()


def test_constraints_pin_every_dependency() -> None:
    pinned = {
        line.partition("==")[0]
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    declared = {name_of(one) for group in (CORE, *EXTRAS.values()) for one in group}
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name in pinned}
    assert {name for name in declared if name.lower() not in normal} == set()


def test_no_tool_is_excused_that_is_not_declared() -> None:
    declared = {name_of(one) for group in EXTRAS.values() for one in group}
    assert set(TOOLS) <= declared
