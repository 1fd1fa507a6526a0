"""The claims of the case study: all are there, each has a criterion, and what it reads exists."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from combinations import for_each

import fanin
from fanin import claims
from fanin.catalogue import describe
from fanin.claims.arms import BestRateArm, ObservedArm, StudyArm
from fanin.claims.claim import Claim, Part
from fanin.claims.claim_inputs import ClaimInputs, StudyRuns, read_observations
from fanin.claims.contrast import Contrast
from fanin.errors import UnknownName
from fanin.study import builtin_studies
from fanin.study.study import Study

ROOT = Path(__file__).parent.parent

PROTOCOL = [
    "zero-symmetry",
    "zero-unstable",
    "random-scale",
    "random-fluctuates",
    "random-batchnorm",
    "xavier-sigmoid-tanh",
    "xavier-deep-relu",
    "he-relu",
    "he-faster",
    "lecun-shallow",
    "orthogonal-deep",
    "orthogonal-slower",
    "cost-order",
    "sparse-niche",
    "uniform-normal",
    "convergence",
    "suboptimal",
    "generalization",
    "no-winner",
    "normalization-effect",
    "optimizer-interaction",
    "lr-interaction",
    "lr-schedule",
]
"""The claims that the case study's protocol lists."""


def test_every_claim_of_the_case_study_is_there() -> None:
    assert list(claims.names()) == PROTOCOL
    assert fanin.names("claims") == claims.names()


@for_each("name", PROTOCOL)
def test_a_claim_has_a_criterion_and_a_reason_for_its_smallest_effect(name: str) -> None:
    claim = claims.get(name)
    assert claim.name == name
    assert claim.statement.endswith(".")
    for text in (claim.supported_if, claim.refuted_if, claim.smallest_effect):
        assert len(text) > 10
        assert not text.endswith(".")
    assert claim.studies or claim.observations
    assert set(claim.seen_before) <= set(claim.studies)
    described = describe("claims", name)
    assert described.facts["supported if"] == claim.supported_if


@for_each("name", PROTOCOL)
def test_a_part_that_counts_says_what_its_refutation_means(name: str) -> None:
    for part in claims.get(name).parts:
        assert part.title
        assert part.if_refuted or not part.counts or name == "no-winner"
        assert all(contrast.smallest > 0 for contrast in part.list_contrasts())


@for_each("name", PROTOCOL)
def test_a_claim_reads_the_studies_that_it_names_and_conditions_that_exist(name: str) -> None:
    claim = claims.get(name)
    studies, observations = set[str](), set[str]()
    for contrast in list_contrasts(claim):
        for arm in contrast.list_arms():
            if isinstance(arm, ObservedArm):
                observations.add(arm.observation)
                assert any(arm.read(load_observed()).values()), arm
                continue
            assert isinstance(arm, StudyArm | BestRateArm)
            studies.add(arm.study)
            assert plan_study(arm.study).lists(arm.where), arm
    assert studies == set(claim.studies)
    assert observations == set(claim.observations)


@for_each("name", PROTOCOL)
def test_the_labels_of_a_claims_contrasts_are_distinct(name: str) -> None:
    labels = [contrast.label for contrast in list_contrasts(claims.get(name))]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", builtin_studies.list_claim_studies())
def test_a_study_of_claims_has_enough_replicates_and_embedded_data(name: str) -> None:
    study = Study.load(name)
    assert study.replicates >= 10
    assert study.base["data"] == "digits"
    assert study.question.rstrip().endswith("?")
    assert "two cores" in study.time
    assert any(name in claims.get(claim).studies for claim in PROTOCOL)
    assert name not in fanin.names("studies")


def test_an_unknown_claim_is_an_error_that_names_near_ones() -> None:
    with pytest.raises(UnknownName, match="he-relu"):
        claims.get("he-rely")


def list_contrasts(claim: Claim) -> Iterator[Contrast]:
    for part in claim.parts:
        assert isinstance(part, Part)
        yield from part.list_contrasts()


@cache
def plan_study(name: str) -> StudyRuns:
    return StudyRuns(Study.load(name).plan(replicates=1), {})


@cache
def load_observed() -> ClaimInputs:
    path = ROOT / "results" / "claim-observations.json"
    return ClaimInputs({}, read_observations(path))
