"""Descriptions of the audit's findings."""

from __future__ import annotations

from fanin.catalogue.description import Description


def describe_finding(name: str) -> Description:
    from fanin.diagnosis.codes import get_kind

    kind = get_kind(name)
    article = "an" if kind.severity == "error" else "a"
    return Description(
        kind="findings",
        name=kind.code,
        summary=f"{kind.title[:1].upper()}{kind.title[1:]} (usually {article} {kind.severity}).",
        facts={
            "meaning": kind.meaning,
            "how it is measured": kind.measured,
            "usual causes": " ".join(kind.causes),
            "what to do": kind.remedy,
            "reference": kind.reference,
        },
        examples=(
            f"fanin explain {kind.code}",
            f'fanin.audit(model, batch, ignore=["{kind.code}"])',
        ),
    )
