"""Initialization of a whole model: which rule meets which parameter, and the record of it."""

from fanin.apply.initialization import initialize
from fanin.apply.record import ParameterRecord, PartRecord, Record
from fanin.apply.rules import Rules

__all__ = ["ParameterRecord", "PartRecord", "Record", "Rules", "initialize"]
