"""What theory predicts of a model's signals and gradients by depth, and what an exact Jacobian
shows.
"""

from fanin.diagnosis.theory.predict import predict
from fanin.diagnosis.theory.prediction import PathPhase, PredictedSignal, Prediction

__all__ = ["PathPhase", "PredictedSignal", "Prediction", "predict"]
