"""What user code remembers: what changes is noticed, and what does not change is left in peace."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from combinations import for_each
from torch import nn
from user_code_files import write_file

from fanin import seeds, user_code
from fanin.user_code import fingerprint

ORDINARY = """
import abc, collections, dataclasses, enum, functools, logging, re, threading, typing
from pathlib import Path
from typing import NamedTuple, Optional, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

T = TypeVar("T")
MAYBE = Optional[int]
LOG = logging.getLogger(__name__)
LOCK = threading.Lock()
WORDS = re.compile("a+")
HERE = Path(__file__)
DEVICE, DTYPE = torch.device("cpu"), torch.float32
TABLE = {"widths": [64, 32], "act": nn.ReLU, "f": F.relu, "sets": {1, 2}, "sin": np.sin}
ROWS = np.arange(6.0)
WEIGHTS = torch.arange(6.0)
Pair = collections.namedtuple("Pair", "a b")

class Kind(enum.Enum):
    A = 1

class Row(NamedTuple):
    x: int = 3

@dataclasses.dataclass(frozen=True)
class Options:
    width: int = 3

class Base(nn.Module, abc.ABC):
    shared = {"a": 1}
    @property
    def size(self): return 3
    @functools.cached_property
    def half(self): return 1
    @classmethod
    def new(cls): return cls()
    @staticmethod
    def add(a, b): return a + b

@functools.lru_cache
def table(n): return torch.arange(n)

def deco(function):
    @functools.wraps(function)
    def inner(*arguments): return function(*arguments)
    return inner

@deco
def use(n):
    return table(n).sum() + Options().width + Row().x

OPTIONS, PAIR = Options(), Pair(1, 2)
"""


def test_an_ordinary_file_has_not_changed_after_its_functions_were_used(tmp_path: Path) -> None:
    file = write_file(tmp_path, ORDINARY)
    user_code.load(f"{file}:use").function(4)
    assert [name for name in user_code.find_changes() if name.startswith("mine.")] == []


class Thing:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def count() -> Callable[[], int]:
    n = 0

    def step() -> int:
        nonlocal n
        n += 1
        return n

    return step


def draw(generator: Any) -> None:
    torch.rand(1, generator=generator)


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "list": (lambda: [1], lambda v: v.append(2)),
    "dict": (lambda: {"a": {"b": 1}}, lambda v: v["a"].update(b=2)),
    "set": (lambda: {1}, lambda v: v.add(2)),
    "array": (lambda: np.zeros(3), lambda v: v.__setitem__(1, 1.0)),
    "array of objects": (lambda: np.array([{"a": 1}, None]), lambda v: v[0].update(b=2)),
    "tensor": (lambda: torch.zeros(3), lambda v: v.add_(1)),
    "module": (lambda: nn.BatchNorm1d(2), lambda v: v.running_mean.add_(1)),
    "object": (lambda: ModuleHolder(), lambda v: setattr(v, "n", 2)),
    "slots": (lambda: Thing(1), lambda v: setattr(v, "value", 2)),
    "closure": (count, lambda v: v()),
    "torch's generator": (lambda: seeds.make_generator(0, "x"), draw),
    "NumPy's generator": (lambda: seeds.make_numpy_generator(0, "x"), lambda v: v.random()),
    "iterator": (lambda: itertools.count(), next),
    "circle": (lambda: make_circle(), lambda v: v.append(1)),
}


class ModuleHolder:
    def __init__(self) -> None:
        self.n, self.module = 1, ModuleType("other")


def make_circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@for_each("name", list(CHANGES))
def test_a_change_is_noticed_and_none_is_imagined(name: str) -> None:
    make, change = CHANGES[name]
    value = make()

    def read() -> str:
        return fingerprint({"it": value}, modules=[__name__])["it"]

    before = read()
    assert read() == before
    change(value)
    assert read() != before


def test_a_running_generator_never_equals_itself() -> None:
    values = {"it": (n for n in range(3))}
    assert fingerprint(values) != fingerprint(values)


def test_known_objects_are_not_looked_into() -> None:
    known = [1]
    before = fingerprint({"it": {"a": known}}, known=[known])
    known.append(2)
    assert fingerprint({"it": {"a": known}}, known=[known]) == before
    assert fingerprint({"it": {"a": copy.copy(known)}}, known=[known]) != before
