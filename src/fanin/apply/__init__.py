"""Initialization of a whole model: which rule meets which parameter, and the record of it."""

from fanin.apply.plan import initialize
from fanin.apply.record import ParameterRecord, Record

__all__ = ["ParameterRecord", "Record", "initialize"]
