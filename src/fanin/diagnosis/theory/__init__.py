"""What theory predicts of a model's signals and gradients by depth, and what its Jacobian shows."""

from fanin.diagnosis.theory.jacobian import JacobianSpectrum, measure_jacobian
from fanin.diagnosis.theory.partial_jacobians import PartialJacobian, estimate_apjn
from fanin.diagnosis.theory.predict import predict
from fanin.diagnosis.theory.prediction import PathPhase, PredictedSignal, Prediction

__all__ = [
    "JacobianSpectrum",
    "PartialJacobian",
    "PathPhase",
    "PredictedSignal",
    "Prediction",
    "estimate_apjn",
    "measure_jacobian",
    "predict",
]
