"""Durations in words."""

from __future__ import annotations


def format_duration(seconds: float) -> str:
    """A duration as people say it: 40 s, 3 min, 2 h 10 min, 3 days."""
    if seconds < 59.5:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes / (24 * 60):.0f} days"
