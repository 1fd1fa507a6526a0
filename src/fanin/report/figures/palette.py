"""Colours and markers of figures: Okabe and Ito's palette, for colour-blind readers."""

from __future__ import annotations

LOSS, METRIC = "#D55E00", "#0072B2"
"""The two axes of training curves."""

WARNING = "#7A3E5D"
"""What diverged or was left out."""

QUIET = "#767676"
"""Ticks, axis titles and notes."""

FRAME, GRID = "#BBBBBB", "#E4E4E4"

# Without the palette's yellow, which is too faint on white.
LINE_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#7A3E5D",
    "#767676",
    "#8C6D31",
)
LINE_MARKERS = ("o", "s", "^", "D", "v", "P", "p", "h", "<", ">")
"""Lines differ by marker too."""

DARK_COLOURS = (
    "#4DA6DB",
    "#F08A3C",
    "#2FBF92",
    "#E39AC2",
    "#F0B429",
    "#8CCBF0",
    "#E8E8E8",
    "#C48BA8",
    "#A9A9A9",
    "#CBA55F",
)
"""The same hues on dark paper, at least 4.5 : 1 against it."""
