"""Which initialization should this network start from? A laboratory for weight initialization.

    import fanin
    fanin.names("initializers")
    init = fanin.get("he_normal", mode="fan_out")
    record = fanin.initialize(model, "orthogonal", seed=0)
    record = fanin.initialize(model, fanin.recipe("gpt2"), seed=0)
    fanin.verify(model, record)
    audit = fanin.audit(model, batch, target=labels)
    fanin.assert_healthy(model, batch, target=labels)
    results = fanin.run("quick", out="runs/quick")
    comparison = fanin.compare("my_init.py:MyInit", against="quick")

This module holds the public names, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanin._version import __version__

if TYPE_CHECKING:
    from fanin.apply import Record, Rules, Verification, initialize, verify
    from fanin.catalogue import names
    from fanin.diagnosis import Audit, Finding, assert_healthy, audit
    from fanin.errors import FaninError
    from fanin.experiment import Results, run
    from fanin.fans import Layout, register_layer
    from fanin.initializers import Initializer, get
    from fanin.initializers.recipes import get_recipe as recipe
    from fanin.newcomer_run import compare
    from fanin.report.standing import Standing
    from fanin.report.watched_training import load_signals
    from fanin.study.study import Study
    from fanin.watching.trainer_callbacks import watch_lightning, watch_transformers
    from fanin.watching.watch import Watch, watch

__all__ = [
    "Audit",
    "FaninError",
    "Finding",
    "Initializer",
    "Layout",
    "Record",
    "Results",
    "Rules",
    "Standing",
    "Study",
    "Verification",
    "Watch",
    "__version__",
    "assert_healthy",
    "audit",
    "compare",
    "get",
    "initialize",
    "load_signals",
    "names",
    "recipe",
    "register_layer",
    "run",
    "verify",
    "watch",
    "watch_lightning",
    "watch_transformers",
]

# Each name is imported when it is first used. So `import fanin` is fast, and `fanin status` imports
# no torch.
_HOMES = {
    "Audit": "fanin.diagnosis",
    "Standing": "fanin.report.standing",
    "FaninError": "fanin.errors",
    "Finding": "fanin.diagnosis",
    "Initializer": "fanin.initializers",
    "Layout": "fanin.fans",
    "Record": "fanin.apply",
    "Results": "fanin.experiment",
    "Rules": "fanin.apply",
    "Study": "fanin.study.study",
    "Verification": "fanin.apply",
    "Watch": "fanin.watching.watch",
    "assert_healthy": "fanin.diagnosis",
    "audit": "fanin.diagnosis",
    "compare": "fanin.newcomer_run",
    "get": "fanin.initializers",
    "initialize": "fanin.apply",
    "load_signals": "fanin.report.watched_training",
    "names": "fanin.catalogue",
    "recipe": "fanin.initializers.recipes",
    "register_layer": "fanin.fans",
    "run": "fanin.experiment",
    "verify": "fanin.apply",
    "watch": "fanin.watching.watch",
    "watch_lightning": "fanin.watching.trainer_callbacks",
    "watch_transformers": "fanin.watching.trainer_callbacks",
}

# A function is a verb in its home.
_OTHER_NAMES = {"recipe": "get_recipe"}


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'fanin' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_HOMES[name]), _OTHER_NAMES.get(name, name))
    except ModuleNotFoundError as error:
        from fanin.errors import STUDY_EXTRA, MissingExtra

        if (error.name or "").partition(".")[0] not in STUDY_EXTRA:
            raise
        raise MissingExtra(str(error.name), "study", f"fanin.{name}") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
