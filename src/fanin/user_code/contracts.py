"""Contracts: what fanin passes to each kind of user component, and what it expects back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Contract:
    """How one kind of user component is called.

    The `positional` arguments go to the first parameters, whatever their names. The `optional`
    arguments are passed by keyword, and only to a callable that has a parameter of that name. All
    other parameters are the component's options, which a spec sets.
    """

    kind: str
    """What the callable makes, for errors."""
    call: str
    """The signature that such a callable has."""
    returns: str
    """What it must return, for errors."""
    positional: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


MODEL = Contract(
    kind="a model",
    call="make(input_shape, outputs, *, option=default)",
    returns="a torch.nn.Module that maps (N, *input_shape) to (N, outputs)",
    positional=("input_shape", "outputs"),
    optional=("vocabulary", "per_step"),
)

INITIALIZER = Contract(
    kind="an initializer",
    call="make(*, option=default)",
    returns="a fanin initializer, such as fanin.get('he_normal')",
)

INITIALIZER_FILL = Contract(
    kind="an initializer",
    call="my_init_(tensor, *, option=default, generator)",
    returns="the tensor, filled in place, or None",
    positional=("tensor",),
    optional=("generator", "fan_in", "fan_out"),
)

OPTIMIZER = Contract(
    kind="an optimizer",
    call="make(parameters, lr, *, option=default)",
    returns="a torch.optim.Optimizer over these parameters",
    positional=("parameters", "lr"),
)

DATASET = Contract(
    kind="a data set",
    call="make(*, option=default)",
    returns="NumPy arrays x_train, y_train, x_test, y_test: a tuple in this order, or a dict of "
    "them",
)

METRIC = Contract(
    kind="a metric",
    call="make(*, option=default)",
    returns="a function of (outputs, targets) that returns one number per sample, a tensor of "
    "shape (N,)",
)

LOSS = Contract(
    kind="a loss",
    call="make(*, option=default)",
    returns="a function of (outputs, targets) that returns the mean loss of a batch, a tensor of "
    "one number",
    optional=("outputs", "class_counts"),
)

TRAINER = Contract(
    kind="a trainer",
    call="train(initialize, *, option=default, seed)",
    returns="metrics by name, such as {'val_loss': 0.31, 'test_accuracy': 0.9}, or yield them for "
    "each epoch",
    positional=("initialize",),
    optional=(
        "seed",
        "learning_rate",
        "replicate",
        "epochs",
        "batch_size",
        "model",
        "data",
        "device",
        "report",
        "init_seed",
        "order_seed",
        "dropout_seed",
        "split_seed",
    ),
)

CONTRACTS = (MODEL, INITIALIZER, INITIALIZER_FILL, DATASET, OPTIMIZER, METRIC, LOSS, TRAINER)
