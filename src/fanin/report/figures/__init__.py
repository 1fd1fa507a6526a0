"""Figures of a study. They need matplotlib."""

from fanin.errors import MissingExtra

try:
    import matplotlib  # noqa: F401
except ModuleNotFoundError:
    raise MissingExtra("matplotlib", "study", "A figure") from None
