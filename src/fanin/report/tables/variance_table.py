"""The table of variance components: what each seed, and each interaction of seeds, adds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fanin.analysis.analysis import Analysis
from fanin.analysis.factors import format_title
from fanin.analysis.seed_variance import SeedVariance
from fanin.analysis.statistics import VarianceComponent
from fanin.report.numbers import NumberFormat, choose_number_format
from fanin.report.tables.table import Column, Table, TableEntry

_TITLES = ("source", "sd", "share", "95 %: from", "to")


def make_variance_table(analysis: Analysis) -> Table:
    """A row for each component of each condition whose seeds are crossed.

    ``sd`` is how far a run moves if this source alone is drawn anew, ``share`` its part of the
    variance of a run with all seeds drawn anew.
    """
    found = [item for item in analysis.seed_variances if item.components is not None]
    if not found:
        return Table("Variance components", (), (), empty="No study of crossed seeds is complete.")
    columns = (
        Column("section", "section", numeric=False, heads_section=True),
        *(Column(title, title, numeric=title != "source") for title in _TITLES),
    )
    rows = [row for item in found for row in _make_rows(analysis, item)]
    notes = (
        "sd: how far a run moves if this source alone is drawn anew, in the metric's unit; share: "
        "of the variance of a run with all seeds drawn anew",
        "Intervals are generalized ones of a random-effects model with crossed seeds; with few "
        "seeds they are wide. × is an interaction; that of all seeds holds whatever is left",
    )
    return Table("Variance components", columns, tuple(rows), notes=notes)


def describe_variance(item: SeedVariance) -> str:
    """One sentence: what each seed adds to the spread between runs."""
    metric = format_title(item.metric)
    if item.components is None:
        return (
            f"{item.missing:,} of {item.runs:,} combinations of seeds have no {metric} (not run "
            "yet, failed or diverged): variance components need all of them."
        )
    components, form = item.components, _choose_format(item)
    single = [each for each in components.components if len(each.factors) == 1]
    rest = sum(each.share for each in components.components if len(each.factors) > 1)
    parts = [
        f"{each.factors[0]} {100 * each.share:.0f} % (95 %: {100 * each.share_low:.0f} to "
        f"{100 * each.share_high:.0f} %)"
        for each in sorted(single, key=lambda each: -each.share)
    ]
    spread = form.text(components.total**0.5)
    return (
        f"runs of {item.value} differ by {spread} (sd) around {form.text(components.mean)} in "
        f"{metric}. Of this variance {', '.join(parts)}; interactions and the rest "
        f"{100 * rest:.0f} %."
    )


def _make_rows(analysis: Analysis, item: SeedVariance) -> Iterable[tuple[TableEntry, ...]]:
    assert item.components is not None
    words = [analysis.design.name_section(item.section), item.value, format_title(item.metric)]
    heading = " · ".join(word for word in words if word)
    form = _choose_format(item)
    for each in item.components.components:
        yield (
            TableEntry(heading, heading),
            TableEntry(" × ".join(each.factors)),
            TableEntry(form.text(each.sd), each.sd),
            *_make_shares(each),
        )


def _make_shares(component: VarianceComponent) -> list[TableEntry]:
    shares = (component.share, component.share_low, component.share_high)
    return [TableEntry(f"{100 * share:.1f} %", share) for share in shares]


def _choose_format(item: SeedVariance) -> NumberFormat:
    """The number format of the metric with one more digit, for small parts of it."""
    assert item.components is not None
    total: Any = item.components.total**0.5
    return choose_number_format(item.metric, [item.components.mean], [total])
