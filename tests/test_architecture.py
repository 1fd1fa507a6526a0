"""The folders are the architecture: what may import what, who owns which side effect, how large
things may be.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from combinations import for_each

ROOT = Path(__file__).parent.parent / "src" / "fanin"

# A module imports only from those above it, and from its own folder. `_version` is what everybody
# may know.
ORDER = (
    "_version",
    "errors",
    "crash_points",
    "atomic",
    "toml_text",
    "screen",
    "garbage_collection",
    "specs",
    "registry",
    "seeds",
    "user_code",
    "fans",
    "gains",
    "structure",
    "losses",
    "initializers",
    "apply",
    "additions",
    "diagnosis",
    "watching",
    "data",
    "models",
    "cell",
    "training",
    "store",
    "study",
    "execution",
    "analysis",
    "claims",
    "report",
    "catalogue",
    "progress",
    "experiment",
    "claim_runs",
    "newcomer_task",
    "newcomer_run",
    "cli",
    "__main__",
)

DATA_ORDER = ("dataset", "split", "sources", "formats", "datasets")
"""Inside `data` too a module imports only from those above it; its other files come last."""

FILE_LIMIT = 400
FUNCTION_LIMIT = 80
LONG_FUNCTIONS = {
    "training/train.py:train",
    "apply/initialization.py:initialize",
    "cli/audit.py:audit",
}
"""The training of one cell is read from top to bottom; most of the others describes arguments."""

FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

SHARED_NAMES = {"__init__", "siren"}
"""File names that may occur more than once: SIREN is an initializer and the network it is for."""

# Functions are verbs. Participles are how they most often stop being verbs.
PARTICIPLE = re.compile(
    r"_*([a-z]+(ed|ing)|shown|made|known|said|spoken|drawn|written|found|taken|chosen|given|kept|held"
    r"|built|sent|seen|told|meant|left)(_|$)"
)
PARTICIPLES = {
    "intended_std": "users' initializers define it",
    "squared_relu": "the field's name of a function",
    "truncated_normal": "the field's name of a distribution",
    "truncated_std": "the standard deviation of that distribution",
}

# Dotted name → the only places that may use it: a folder, a file, or nobody.
OWNERS: dict[str, tuple[str, ...]] = {
    "torch.manual_seed": (),
    "torch.seed": (),
    "torch.random": ("seeds.py",),
    "torch.Generator": ("seeds.py",),
    "torch.cuda.manual_seed": (),
    "numpy.random": ("seeds.py",),
    "random": ("seeds.py",),
    "gc": ("garbage_collection.py",),
    "secrets": (),
    "sqlite3": (
        "store/database.py",
        "store/results_store.py",
        "store/salvage.py",
        "store/stored_rows.py",
        "store/verify.py",
    ),
    "sqlite3.connect": ("store/database.py",),
    "matplotlib": ("report/",),
    "typer": ("cli/",),
    "argparse": ("execution/worker.py",),
    "click": (),
    "ray": (),
    "pickle": ("data/formats/unpickling.py",),
    "marshal": (),
    "shelve": (),
    "torch.load": (),
    "torch.save": (),
    "eval": (),
    "exec": (),
    "socket": ("store/lock.py",),
    "urllib.request": (),
    "http.client": (),
    "requests": ("data/sources/download.py",),
    "urllib3": ("data/sources/download.py",),
    "pooch": ("data/sources/mirrors.py",),
}

MODULES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in ROOT.rglob("*.py")
}


def layer_of(file: str) -> str:
    """The entry of `ORDER` that a file belongs to."""
    return file.partition("/")[0].removesuffix(".py")


def imported(file: str, tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that a module imports, at any depth, also for type checkers only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_modules(file: str, tree: ast.AST) -> set[str]:
    """The files of the package that a module imports."""
    found = set()
    for name in imported(file, tree):
        parts = name.split(".")
        if parts[0] != "fanin":
            continue
        for length in (len(parts), len(parts) - 1):
            path = "/".join(parts[1:length])
            hit = next(
                (
                    c
                    for c in (
                        f"{path}.py",
                        f"{path}/__init__.py",
                        "__init__.py" if not path else "",
                    )
                    if c in MODULES
                ),
                None,
            )
            if hit:
                found.add(hit)
                break
    return found - {file}


def used_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Dotted names that a module uses, import aliases undone, and their lines."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {
                alias.asname or alias.name.partition(".")[0]: alias.name
                if alias.asname
                else alias.name.partition(".")[0]
                for alias in node.names
            }
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            aliases |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
            head, dot, rest = ast.unparse(node).partition(".")
            if head in aliases:
                yield aliases[head] + dot + rest, node.lineno
            elif isinstance(node, ast.Name) and node.id in ("eval", "exec"):
                yield node.id, node.lineno


def breaches(file: str, tree: ast.AST) -> list[str]:
    """Uses of what another place owns. A generator's type may be named anywhere, in annotations and
    checks; none is made.
    """
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = []
    for name, line in used_names(tree):
        if name.endswith(".Generator") and not any(call.endswith(".Generator") for call in called):
            continue
        for owned, owners in OWNERS.items():
            if name != owned and not name.startswith(f"{owned}."):
                continue
            if not any(
                file == owner or (owner.endswith("/") and file.startswith(owner))
                for owner in owners
            ):
                found.append(f"{file}:{line} uses {name}")
    return found


@for_each("file", MODULES)
def test_a_module_imports_only_from_layers_above_it(file: str) -> None:
    if file == "__init__.py":
        return
    rank = ORDER.index(layer_of(file))
    below = {
        other
        for other in own_modules(file, MODULES[file])
        if other != "__init__.py" and ORDER.index(layer_of(other)) > rank
    }
    assert below == set()


@for_each(
    "file", [file for file in MODULES if file.startswith(tuple(f"data/{d}" for d in DATA_ORDER))]
)
def test_a_module_of_data_imports_only_from_layers_above_it(file: str) -> None:
    def rank_of(module: str) -> int:
        layer = module.split("/")[1].removesuffix(".py")
        return DATA_ORDER.index(layer) if layer in DATA_ORDER else len(DATA_ORDER)

    imports = {other for other in own_modules(file, MODULES[file]) if other.startswith("data/")}
    assert {other for other in imports if rank_of(other) > rank_of(file)} == set()


def test_every_module_belongs_to_a_layer() -> None:
    assert {layer_of(file) for file in MODULES} - {"__init__"} <= set(ORDER)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle({file: own_modules(file, tree) for file, tree in MODULES.items()}) == []


def test_an_import_for_type_checkers_counts() -> None:
    code = "if TYPE_CHECKING:\n    from fanin.cell.cell import Cell"
    assert own_modules("planted.py", ast.parse(code)) == {"cell/cell.py"}


def circle(edges: dict[str, set[str]]) -> list[str]:
    """A path that returns to its start, if there is one. A package's own `__init__` re-exports, and
    is passed through.
    """
    done: set[str] = set()

    def visit(file: str, path: list[str]) -> list[str]:
        if file in path:
            return [*path[path.index(file) :], file]
        if file in done:
            return []
        for other in sorted(edges[file]):
            if found := visit(other, [*path, file]):
                return found
        done.add(file)
        return []

    return next((found for file in edges if (found := visit(file, []))), [])


def test_a_planted_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}) == ["a", "b", "c", "a"]


@for_each("file", MODULES)
def test_each_side_effect_has_one_owner(file: str) -> None:
    assert breaches(file, MODULES[file]) == []


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch.manual_seed(0)",
        "from torch import manual_seed",
        "import numpy as np\nnp.random.normal()",
        "from numpy.random import default_rng",
        "import random",
        "import torch\ng = torch.Generator()",
        "import sqlite3",
        "from matplotlib import pyplot as plt",
        "import pickle",
        "import torch\ntorch.load('x')",
        "import typer",
        "eval('1')",
    ],
)
def test_a_planted_side_effect_is_found(code: str) -> None:
    assert breaches("models/planted.py", ast.parse(code))


@for_each("file", MODULES)
def test_files_and_functions_stay_small(file: str) -> None:
    lines = (ROOT / file).read_text(encoding="utf-8").count("\n")
    assert lines <= FILE_LIMIT
    functions = [
        node
        for node in ast.walk(MODULES[file])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = {
        f"{file}:{f.name}"
        for f in functions
        if (f.end_lineno or f.lineno) - f.lineno + 1 > FUNCTION_LIMIT
    }
    assert long - LONG_FUNCTIONS == set()


def test_no_exception_to_a_limit_outlives_its_reason() -> None:
    for name in LONG_FUNCTIONS:
        file, _, function = name.partition(":")
        (found,) = [
            node
            for node in ast.walk(MODULES[file])
            if isinstance(node, ast.FunctionDef) and node.name == function
        ]
        assert (found.end_lineno or 0) - found.lineno + 1 > FUNCTION_LIMIT


def find_participles(tree: ast.AST) -> set[str]:
    """The functions and methods named by a participle; properties and fixtures are nouns."""
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return {
        function.name
        for function in functions
        if PARTICIPLE.match(function.name)
        and not any("property" in ast.unparse(item) for item in function.decorator_list)
    }


def test_functions_are_not_named_by_participles() -> None:
    found = {name for tree in MODULES.values() for name in find_participles(tree)}
    assert found == set(PARTICIPLES)


def test_a_planted_participle_is_found() -> None:
    code = (
        "def shown(): ...\ndef _described(): ...\n"
        "class A:\n    def tried(self): ...\ndef show(): ..."
    )
    assert find_participles(ast.parse(code)) == {"shown", "_described", "tried"}


def test_a_file_name_occurs_once() -> None:
    names = [Path(file).stem for file in MODULES]
    assert {name for name in names if names.count(name) > 1} == SHARED_NAMES


def test_no_file_is_named_after_nothing() -> None:
    assert [
        file for file in MODULES if set(Path(file).with_suffix("").parts) & FORBIDDEN_NAMES
    ] == []


@for_each("file", MODULES)
def test_every_module_says_what_it_is(file: str) -> None:
    empty = not (ROOT / file).read_text(encoding="utf-8").strip()
    assert empty or ast.get_docstring(MODULES[file])
