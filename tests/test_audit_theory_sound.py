"""Theory beside what was measured in sound models of every kind; none is too deep for its phase."""

from __future__ import annotations

import math

import pytest
from audit_sound_models import SOUND_MODELS

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.findings.phase import judge_phase
from fanin.diagnosis.probe import measure_start

OWN = [name for name in SOUND_MODELS if not name.startswith(("timm_", "transformers_"))]
"""Those that need no other package."""
ALLOWED = 0.05
"""What the theory of wide networks may be off by besides the spread, in ln rms."""


@pytest.mark.slow
def test_signals_of_sound_models_are_as_predicted_and_none_is_called_too_deep() -> None:
    off: list[float] = []
    layers = 0
    for name in OWN:
        case = SOUND_MODELS[name].build()
        measured = measure_start(case.model, case.batch, case.target, case.loss)
        examination = Examination(
            model=case.model,
            batch=case.batch,
            target=case.target,
            loss=case.loss,
            measurement=measured,
            structure=None,
        )
        assert list(judge_phase(examination)) == [], name
        assert examination.prediction is not None
        for layer in measured.layers:
            layers += 1
            found = examination.prediction.signals[layer.node]
            if found.predicted_rms and found.spread is not None and layer.rms:
                gap = math.log(layer.rms / found.predicted_rms)
                off.append(abs(gap) / math.hypot(found.spread, ALLOWED))
    assert len(off) > 0.7 * layers
    assert max(off) < 5
    assert sum(one > 2 for one in off) < 0.02 * len(off)
