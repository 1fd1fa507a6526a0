"""Verdicts: what the results say of a claim, its parts and their contrasts, as plain records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fanin.analysis.statistics import LEVEL
from fanin.claims.claim import Claim, Mode, Part
from fanin.claims.claim_inputs import ClaimInputs
from fanin.claims.contrast import ContrastResult
from fanin.claims.decision_rule import Verdict, combine_all, combine_any
from fanin.claims.verdict_words import describe_decision, describe_effect


@dataclass(frozen=True)
class PartVerdict:
    """The verdict on a part of a claim."""

    part: Part
    verdict: Verdict
    items: tuple[ContrastResult | PartVerdict, ...]

    def list_contrasts(self) -> Iterator[ContrastResult]:
        """The results of all contrasts in it."""
        for item in self.items:
            if isinstance(item, PartVerdict):
                yield from item.list_contrasts()
            else:
                yield item

    @property
    def decisive(self) -> ContrastResult:
        """The contrast that decides (`choose_decisive`)."""
        return choose_decisive(self.verdict, list(self._list_candidates()), self.part.mode)

    def _list_candidates(self) -> Iterator[ContrastResult]:
        for item in self.items:
            yield item.decisive if isinstance(item, PartVerdict) else item


@dataclass(frozen=True)
class ClaimVerdict:
    """The verdict on a claim."""

    claim: Claim
    verdict: Verdict
    parts: tuple[PartVerdict, ...]
    is_rehearsal: bool = False
    """Whether the trainings were shortened, so that the verdict does not count."""

    @property
    def decisive(self) -> ContrastResult:
        """The contrast that decides the claim."""
        candidates = [part.decisive for part in self.parts if part.part.counts]
        return choose_decisive(self.verdict, candidates, self.claim.mode)

    @property
    def effect(self) -> str:
        """The deciding contrast's effect with its interval, in words."""
        return describe_effect(self.decisive)

    @property
    def n(self) -> int:
        """The replicates of the deciding contrast."""
        return self.decisive.effect.n

    @property
    def sentence(self) -> str:
        """The verdict and what decided it."""
        return describe_decision(self.verdict, self.decisive)

    @property
    def instead(self) -> str:
        """What is true instead; empty if no part is refuted."""
        refuted = (part for part in self.parts if part.verdict == "refuted" and part.part.counts)
        return " ".join(
            f"{part.part.if_refuted} ({part.decisive.contrast.label}: "
            f"{describe_effect(part.decisive)}.)"
            for part in refuted
        )

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON values; a number that does not exist is null."""
        return {
            "claim": self.claim.name,
            "statement": self.claim.statement,
            "verdict": self.verdict,
            "counts": not self.is_rehearsal,
            "sentence": self.sentence,
            "instead": self.instead,
            "n": self.n,
            "parts": [_to_json(part) for part in self.parts],
        }


def judge_claim(claim: Claim, inputs: ClaimInputs, *, is_rehearsal: bool = False) -> ClaimVerdict:
    """Decide a claim from what is there. All its intervals together have a confidence of 95 %
    (Bonferroni over the contrasts that count).
    """
    alpha = (1 - LEVEL) / max(claim.comparisons, 1)
    parts = tuple(_judge_part(part, inputs, alpha) for part in claim.parts)
    combine = combine_all if claim.mode == "all" else combine_any
    verdict = combine([part.verdict for part in parts if part.part.counts])
    return ClaimVerdict(claim, verdict, parts, is_rehearsal)


def choose_decisive(
    verdict: Verdict, results: Sequence[ContrastResult], mode: Mode
) -> ContrastResult:
    """The contrast that a verdict rests on, of those with this verdict, or of all if none has it.

    It is the one that speaks least for the claim if all must hold, and the one that speaks most for
    it if any is enough, both in smallest effects of interest.
    """
    having = [result for result in results if result.verdict == verdict] or list(results)
    measured = [result for result in having if result.effect.n] or having

    def speak(result: ContrastResult) -> float:
        size = result.effect.value / result.contrast.smallest
        return {"same": -abs(size), "differs": abs(size)}.get(result.contrast.form, size)

    return (min if mode == "all" else max)(measured, key=speak)


def _judge_part(part: Part, inputs: ClaimInputs, alpha: float) -> PartVerdict:
    items = tuple(
        _judge_part(item, inputs, alpha) if isinstance(item, Part) else item.judge(inputs, alpha)
        for item in part.items
    )
    combine = combine_all if part.mode == "all" else combine_any
    return PartVerdict(part, combine([item.verdict for item in items]), items)


def _to_json(item: PartVerdict | ContrastResult) -> dict[str, Any]:
    if isinstance(item, PartVerdict):
        return {
            "title": item.part.title,
            "verdict": item.verdict,
            "counts": item.part.counts,
            "items": [_to_json(inner) for inner in item.items],
        }
    effect, contrast = item.effect, item.contrast
    numbers = {"effect": effect.value, "low": effect.low, "high": effect.high}
    finite = {name: value if abs(value) < float("inf") else None for name, value in numbers.items()}
    return {
        "label": contrast.label,
        "verdict": item.verdict,
        "form": contrast.form,
        "unit": contrast.unit,
        "statistic": effect.statistic,
        **finite,
        "smallest": contrast.smallest,
        "n": effect.n,
        "diverged": effect.diverged,
        "failed": effect.failed,
        "needed": item.needed,
    }
