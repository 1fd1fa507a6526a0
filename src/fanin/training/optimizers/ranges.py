"""Ranges of optimizers' options, refused in the same words everywhere."""

from __future__ import annotations

from fanin.errors import SpecError, quote


def require_share(what: str, value: float) -> None:
    """Raise a `SpecError` unless 0 ≤ value < 1: the share of the past in a running mean or sum."""
    if not 0 <= value < 1:
        raise SpecError(f"{what} must be at least 0 and below 1, not {quote(value)}.")


def require_not_negative(what: str, value: float) -> None:
    """Raise a `SpecError` unless value ≥ 0."""
    if not value >= 0:
        raise SpecError(f"{what} must be at least 0, not {quote(value)}.")
