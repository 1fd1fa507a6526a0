"""One torch thread, Keras on JAX, no network, and a guard: nothing in fanin moves the caller's
global random state.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
# Tests of downloads talk to a server of their own, and remove this.
os.environ["FANIN_OFFLINE"] = "1"
# Test processes run side by side, one per core, and so do the processes that they start.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
# JAX compiles each function for each shape; here most are called once.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import hypothesis
import pytest
import torch
from global_state import describe_moves, read_global_state
from preloaded_workers import Nursery, open_nursery

torch.set_num_threads(1)

# That a machine is busy is no failure.
hypothesis.settings.register_profile(
    "fanin", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("fanin")

# These draw from Python's global generator when they are first imported, in whichever test that is.
for _module in ("rich.progress", "sklearn.datasets"):
    with contextlib.suppress(ImportError):
        importlib.import_module(_module)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--only",
        default="",
        metavar="TEXT",
        help="of the contracts over combinations, try those whose label contains the text",
    )


SLOW_TESTS = Path(__file__).with_name("slow_tests.txt")
"""Tests that took more than 2.5 s on one core: one in eighty, and four tenths of the time."""


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """A process that has imported torch, from which workers can be forked."""
    with open_nursery() as nursery:
        yield nursery


@pytest.fixture(scope="module")
def preloaded_workers(nursery: Nursery) -> Iterator[None]:
    """Workers start in milliseconds; see the module of that name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fanin.execution.executors.subprocess", nursery.as_subprocess())
        yield


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of data sets."""
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one: for what writes files by relative names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def draws_globally() -> None:
    """For a test that itself moves the global random state, such as one that runs Keras; the guard
    lets it pass.
    """


@pytest.fixture(autouse=True)
def _global_random_state_is_not_moved(request: pytest.FixtureRequest) -> Iterator[None]:
    before = read_global_state()
    yield
    moves = describe_moves(before)
    if moves and "draws_globally" not in request.fixturenames:
        pytest.fail(moves, pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def forget_user_files() -> Iterator[None]:
    """A worker has only the user files of its cells; here, those of the tests of one module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fanin.user_code.variables._AT_IMPORT", {})
        yield


LONG_FILES = {
    f"test_{name}.py"
    for name in (
        "faults",
        "faults_training",
        "builtin_studies",
        "framework_defaults",
        "models_transformer",
        "models_training",
        "apply_sharded",
        "report_figures",
        "report_page",
        "report_escaping",
        "initializers_peers",
        "initializers_jax",
        "cli",
        "docs",
    )
}
"""Files that take longest. They come first, so that no process works on one while others idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG_FILES)
    listed = set(SLOW_TESTS.read_text(encoding="utf-8").split("\n"))
    for item in items:
        if f"{item.path.parent.name}/{item.nodeid.rpartition('/')[2]}" in listed:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
