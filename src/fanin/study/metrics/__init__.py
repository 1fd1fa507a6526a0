"""Metrics: what is measured beside the loss, by name.

A metric is either scored sample by sample and averaged, or follows from the mean loss. Each task has its own; a study adds
others with ``metrics = ["perplexity"]``. Names are columns of results and never change.
"""

from fanin.study.metrics import builtin as builtin
from fanin.study.metrics.entries import REGISTRY as REGISTRY
from fanin.study.metrics.entries import Better as Better
from fanin.study.metrics.entries import Metric as Metric
from fanin.study.metrics.lookup import chosen as chosen
from fanin.study.metrics.lookup import get as get
from fanin.study.metrics.lookup import of_task as of_task
