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
    from fanin.additions import (
        GrownModel,
        LoraPair,
        deepen,
        initialize_lora,
        logit_bias,
        resize_embedding,
        widen,
    )
    from fanin.apply import (
        Record,
        Rules,
        Selection,
        Verification,
        initialize,
        select_weights,
        verify,
    )
    from fanin.catalogue import names
    from fanin.diagnosis import (
        Audit,
        CoordinateCheck,
        Finding,
        assert_healthy,
        audit,
        coordinate_check,
    )
    from fanin.errors import FaninError
    from fanin.experiment import Results, run
    from fanin.fans import Layout, register_layer
    from fanin.initializers import Initializer, get
    from fanin.initializers.recipes import get_recipe as recipe
    from fanin.newcomer_run import compare
    from fanin.report.coordinate_file import draw_coordinates
    from fanin.report.standing import Standing
    from fanin.report.watched_training import load_signals
    from fanin.study.study import Study
    from fanin.watching.trainer_callbacks import watch_lightning, watch_transformers
    from fanin.watching.watch import Watch, watch

__all__ = [
    "Audit",
    "CoordinateCheck",
    "FaninError",
    "Finding",
    "GrownModel",
    "Initializer",
    "Layout",
    "LoraPair",
    "Record",
    "Results",
    "Rules",
    "Selection",
    "Standing",
    "Study",
    "Verification",
    "Watch",
    "__version__",
    "assert_healthy",
    "audit",
    "compare",
    "coordinate_check",
    "deepen",
    "draw_coordinates",
    "get",
    "initialize",
    "initialize_lora",
    "load_signals",
    "logit_bias",
    "names",
    "recipe",
    "register_layer",
    "resize_embedding",
    "run",
    "select_weights",
    "verify",
    "watch",
    "watch_lightning",
    "watch_transformers",
    "widen",
]

# Each name is imported when it is first used. So `import fanin` is fast, and `fanin status` imports
# no torch.
_HOMES = {
    "Audit": "fanin.diagnosis",
    "CoordinateCheck": "fanin.diagnosis",
    "Standing": "fanin.report.standing",
    "FaninError": "fanin.errors",
    "Finding": "fanin.diagnosis",
    "GrownModel": "fanin.additions",
    "Initializer": "fanin.initializers",
    "Layout": "fanin.fans",
    "LoraPair": "fanin.additions",
    "Record": "fanin.apply",
    "Results": "fanin.experiment",
    "Rules": "fanin.apply",
    "Selection": "fanin.apply",
    "Study": "fanin.study.study",
    "Verification": "fanin.apply",
    "Watch": "fanin.watching.watch",
    "assert_healthy": "fanin.diagnosis",
    "audit": "fanin.diagnosis",
    "compare": "fanin.newcomer_run",
    "coordinate_check": "fanin.diagnosis",
    "draw_coordinates": "fanin.report.coordinate_file",
    "deepen": "fanin.additions",
    "get": "fanin.initializers",
    "initialize": "fanin.apply",
    "initialize_lora": "fanin.additions",
    "logit_bias": "fanin.additions",
    "resize_embedding": "fanin.additions",
    "load_signals": "fanin.report.watched_training",
    "names": "fanin.catalogue",
    "recipe": "fanin.initializers.recipes",
    "register_layer": "fanin.fans",
    "run": "fanin.experiment",
    "select_weights": "fanin.apply",
    "verify": "fanin.apply",
    "watch": "fanin.watching.watch",
    "watch_lightning": "fanin.watching.trainer_callbacks",
    "watch_transformers": "fanin.watching.trainer_callbacks",
    "widen": "fanin.additions",
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
