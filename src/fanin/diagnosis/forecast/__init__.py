"""Whether training will work, from the start alone: `make_forecast`.

quantities of the start → a penalty for each that is out of order → a probability → a verdict.
"""

from fanin.diagnosis.forecast.forecast_record import Forecast, Reason
from fanin.diagnosis.forecast.forecasting import make_forecast

__all__ = ["Forecast", "Reason", "make_forecast"]
