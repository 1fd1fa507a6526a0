"""Benchmark models: a file in this folder that registers a `ModelEntry` is all that one takes."""

from fanin.models.benchmark_model import REGISTRY as REGISTRY
from fanin.models.benchmark_model import Model as Model
from fanin.models.benchmark_model import ModelEntry as ModelEntry
from fanin.models.benchmark_model import get as get
from fanin.models.benchmark_model import names as names
from fanin.models.dropout import Dropout as Dropout
from fanin.models.dropout import DropoutKeys as DropoutKeys
from fanin.registry import import_modules

import_modules(__name__, __path__)
