"""The examples in docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib.util
import pkgutil
from collections.abc import Iterator

import torch
from combinations import for_each
from torch import nn

import fanin

OPTIONAL = {"fanin.__main__"}
"""Importing it runs the command line."""


def find_examples() -> Iterator[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in pkgutil.walk_packages(fanin.__path__, "fanin."):
        if module.name not in OPTIONAL and ">>>" in _read_source(module.name):
            loaded = importlib.import_module(module.name)
            yield from (test for test in finder.find(loaded) if test.examples)


def _read_source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    return spec.loader.get_source(name) or ""  # type: ignore[attr-defined]


EXAMPLES = list(find_examples())


def test_the_functions_people_start_with_have_examples() -> None:
    names = {test.name for test in EXAMPLES}
    assert {
        "fanin.apply.initialization.initialize",
        "fanin.apply.record.Record",
        "fanin.apply.rules.Rules",
        "fanin.catalogue.names",
        "fanin.fans.layer_parameters.calculate_fans",
        "fanin.gains.gain_rules.gain",
        "fanin.initializers.initializer_entry.get",
    } <= names


@for_each("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_of_docstrings(example: doctest.DocTest) -> None:
    report: list[str] = []
    example.globs |= {"fanin": fanin, "nn": nn, "torch": torch}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)
