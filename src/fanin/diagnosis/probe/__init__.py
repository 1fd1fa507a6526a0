"""The probe: measure a model's start by one forward and one backward pass."""

from fanin.diagnosis.probe.start_measurement import measure_start

__all__ = ["measure_start"]
