"""Metrics: what is measured beside the loss, by name.

A metric is the mean of one number per sample, or a function of the mean loss. Each task has metrics
of its own; a study adds others with ``metrics = ["perplexity"]``. The names are columns of results
and never change. A file in this folder that registers a `Metric` is all that one takes.
"""

from fanin.registry import import_modules
from fanin.training.metrics.metric import REGISTRY as REGISTRY
from fanin.training.metrics.metric import Better as Better
from fanin.training.metrics.metric import Metric as Metric
from fanin.training.metrics.selection import get_task_metrics as get_task_metrics
from fanin.training.metrics.selection import select_metrics as select_metrics

import_modules(__name__, __path__)
