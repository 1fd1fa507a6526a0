"""Metrics: what is measured beside the loss, by name.

A metric is either scored sample by sample and averaged, or follows from the mean loss. Each task
has its own; a study adds others with ``metrics = ["perplexity"]``. Names are columns of results and
never change.
"""

from fanin.registry import import_modules
from fanin.training.metrics.metric import REGISTRY as REGISTRY
from fanin.training.metrics.metric import Better as Better
from fanin.training.metrics.metric import Metric as Metric
from fanin.training.metrics.selection import get_task_metrics as get_task_metrics
from fanin.training.metrics.selection import select_metrics as select_metrics

import_modules(__name__, __path__)
