"""The audit of a model's start: `audit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor, nn

from fanin.apply.bare_model import remove_wrappers
from fanin.diagnosis.advice.code import write_code
from fanin.diagnosis.advice.comparing import USUAL, compare
from fanin.diagnosis.advice.comparison import Comparison
from fanin.diagnosis.advice.fix_report import FixReport
from fanin.diagnosis.advice.fixing import fix
from fanin.diagnosis.advice.patch_choice import choose_patches
from fanin.diagnosis.advice.patching import find_places
from fanin.diagnosis.advice.proposing import complete_findings
from fanin.diagnosis.examination import Examination, Level
from fanin.diagnosis.finding import SEVERITIES, Finding
from fanin.diagnosis.findings import JUDGES
from fanin.diagnosis.findings.consequences import drop_consequences
from fanin.diagnosis.forecast import Forecast, make_forecast
from fanin.diagnosis.ignoring import drop_ignored, parse_ignored
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.diagnosis.probe import measure_start
from fanin.diagnosis.probe.thorough import ThoroughMeasurement, measure_thoroughly
from fanin.diagnosis.theory import Prediction
from fanin.diagnosis.views.audit_page import render_page
from fanin.diagnosis.views.audit_text import format_audit
from fanin.diagnosis.views.plain_records import to_record
from fanin.diagnosis.views.sarif_log import to_sarif
from fanin.errors import FaninError, FitError, MissingExtra, UnknownName, quote
from fanin.structure import ModelStructure, describe_structure
from fanin.structure.forward_tracing import Batch
from fanin.structure.module_kinds import check_model

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit found; nothing of the model was changed."""

    findings: tuple[Finding, ...]
    """The worst first."""
    measurement: Measurement | None
    """None if the model could not be run; `notes` says why."""
    structure: ModelStructure | None
    notes: tuple[str, ...]
    """What could not be looked at, and why."""
    level: Level
    model_name: str
    ignored: tuple[str, ...] = ()
    """The findings that were meant: `ignore`."""
    examination: Examination = field(repr=False, compare=False)
    thorough: ThoroughMeasurement | None = field(default=None, repr=False)
    """Jacobians and first steps, at the level full."""
    repair: FixReport | None = field(default=None, repr=False, compare=False)
    """Of the audit of a repaired copy: what was changed, and whether it helped."""

    @property
    def layers(self) -> tuple[Signal, ...]:
        """What each layer put out, in the order of computation."""
        return self.measurement.layers if self.measurement else ()

    @property
    def theory(self) -> Prediction | None:
        """What theory predicts of the same signals; None if nothing was measured."""
        return self.examination.prediction

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are errors."""
        return self.list_findings("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are warnings."""
        return self.list_findings("warning")

    def fix(
        self, model: nn.Module | None = None, *, seed: int | None = None, notes: bool = False
    ) -> tuple[nn.Module, Audit]:
        """A repaired copy of the model, and its own audit, whose `repair` says what helped.

        Patches are applied to the copy, which is audited again; what did not help is undone
        (`fanin.diagnosis.advice.fix`). Findings without patches need a change of code.

        Args:
            model: the model that was audited; it is left unchanged.
            seed: of the numbers that patches draw; that of the audit if None.
            notes: whether to apply the patches of notes too.

        Raises `UsageError` if the model cannot be copied.
        """
        seen = self.examination
        after: tuple[nn.Module, Audit, FixReport] = fix(
            self._audit_again,
            seen.model if model is None else model,
            self,
            seed=seen.seed if seed is None else seed,
            batch=seen.batch,
            notes=notes,
        )
        return after[0], replace(after[1], repair=after[2])

    def compare(self, initializers: Sequence[str] = USUAL, *, seeds: int = 3) -> Comparison:
        """Initializers ranked for this model by how it starts from each, without training."""
        seen = self.examination
        return compare(
            self._audit_again,
            seen.model,
            initializers,
            seeds=seeds,
            seed=seen.seed,
            batch=seen.batch,
            target=seen.target,
            loss=seen.loss,
        )

    def forecast(self, *, optimizer: str = "adam", steps: int = 150) -> Forecast:
        """Whether training will work, from this start: a verdict, its probability, its reasons.

        Nothing is trained: the forecast reads what was measured, and runs one more forward pass.

        Args:
            optimizer: ``adam``, ``adamw`` or ``sgd``, each at its best learning rate.
            steps: how many of them.

        Raises:
            UsageError: an unknown optimizer, steps below 1, or an audit without target and loss.
            FitError: the model could not be run.
        """
        return make_forecast(self.examination, optimizer, steps, self.model_name)

    def code(self, *, notes: bool = False) -> str:
        """PyTorch code that does to a variable named ``model`` what the findings' patches do."""
        chosen = [one for one in self.findings if notes or one.severity != "note"]
        seen = self.examination
        # A parameter that several findings want to change is changed by the worst one alone.
        owned = choose_patches(chosen, find_places(seen.model))
        patches = [patch for _, found in owned for patch in found]
        return write_code(seen.model, patches, seed=seen.seed, batch=seen.batch)

    def _audit_again(self, model: nn.Module) -> Audit:
        seen = self.examination
        return audit(
            model,
            seen.batch,
            target=seen.target,
            loss=seen.loss,
            expected=seen.expected,
            ignore=self.ignored,
            level=self.level,
            seed=seen.seed,
        )

    def __str__(self) -> str:
        """The audit in 80 columns."""
        return format_audit(self)

    def to_json(self) -> dict[str, Any]:
        """Findings with their patches, layers, loss and structure, as plain lists and dicts."""
        return to_record(self)

    def to_sarif(self, file: str = "", line: int = 1) -> dict[str, Any]:
        """A SARIF 2.1.0 log, for code hosts; `file` and `line` are where the model is made."""
        return to_sarif(self, file=file, line=line)

    def to_html(self) -> str:
        """A page with charts by depth and all layers, as one file."""
        return render_page(self)

    def to_frame(self) -> pd.DataFrame:
        """One row for each layer, as a pandas table. Raises `MissingExtra` without pandas."""
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise MissingExtra("pandas", "study", "Audit.to_frame") from None
        return pd.DataFrame([asdict(one) for one in self.layers])

    def list_findings(self, severity: str) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(one for one in self.findings if one.severity == severity)


def audit(
    model: nn.Module,
    batch: Batch,
    *,
    target: Any = None,
    loss: Callable[..., Tensor] | None = None,
    expected: Mapping[str, Tensor] | None = None,
    ignore: Sequence[str] = (),
    level: Level = "fast",
    seed: int = 0,
) -> Audit:
    """Find what is wrong with a model's start, before it is trained. The model is left unchanged.

    Args:
        model: any module.
        batch: one tensor, a list or tuple of the model's arguments, or a dict of its keywords. Real
            data show more than random numbers: input scales, labels that a bias should fit.
        target: what the output is compared with: whole numbers for cross-entropy, real numbers for
            the mean squared error. Without it, and without a loss of the model's own, gradients
            start from a random cotangent, and nothing is said of the loss.
        loss: a module or function of (output, target), if it is another one.
        expected: a state dict that the model should hold, to find weights that were not loaded, or
            initialized again afterwards.
        ignore: findings that are meant, by code and place: ``["F036", "F031:head.*"]``.
        level: ``fast``: a few passes. ``full``: also the Jacobian's singular values, partial
            Jacobian norms, and the first steps of training from several seeds.
        seed: of all random numbers that the audit draws.

    Raises:
        UsageError: not a module, not a batch, or not a pattern of findings.
    """
    check_model(model)
    parse_ignored(ignore)
    if level not in get_args(Level):
        raise UnknownName.suggest("level", level, get_args(Level))
    examination = examine(
        model, batch, target=target, loss=loss, expected=expected, level=level, seed=seed
    )
    thorough = None
    if level == "full" and examination.measurement is not None:
        thorough = measure_thoroughly(examination.model, batch, target, loss, seed)
        examination.notes.extend(thorough.notes)
    return Audit(
        thorough=thorough,
        findings=drop_ignored(judge(examination), ignore),
        measurement=examination.measurement,
        structure=examination.structure,
        notes=tuple(examination.notes),
        level=level,
        model_name=type(examination.model).__name__,
        ignored=tuple(ignore),
        examination=examination,
    )


def examine(
    model: nn.Module,
    batch: Batch,
    *,
    target: Any = None,
    loss: Callable[..., Tensor] | None = None,
    expected: Mapping[str, Tensor] | None = None,
    level: Level = "fast",
    seed: int = 0,
) -> Examination:
    """Measure a model and describe its structure; what cannot be done is noted."""
    with remove_wrappers(model) as bare:
        return _examine_bare(bare, batch, target, loss, expected, level, seed)


def _examine_bare(
    model: nn.Module,
    batch: Batch,
    target: Any,
    loss: Callable[..., Tensor] | None,
    expected: Mapping[str, Tensor] | None,
    level: Level,
    seed: int,
) -> Examination:
    notes: list[str] = []
    structure = measurement = None
    problem, loss_problem = _find_obstacle(model), ""
    if not problem:
        try:
            measurement, loss_problem = _measure(model, batch, target, loss)
        except FitError as error:
            problem = str(error)
    if problem:
        notes.append(f"{problem} Only the parameters were looked at.")
    elif measurement is not None:
        try:
            structure = describe_structure(model, batch)
        except FaninError as error:
            notes.append(f"The structure could not be read: {error}")
    return Examination(
        model=model,
        batch=batch,
        target=target,
        loss=loss,
        measurement=measurement,
        structure=structure,
        problem=problem,
        loss_problem=loss_problem,
        expected=expected,
        level=level,
        seed=seed,
        notes=notes,
    )


def _measure(
    model: nn.Module, batch: Batch, target: Any, loss: Callable[..., Tensor] | None
) -> tuple[Measurement, str]:
    """The measurement, and why the loss could not be computed: gradients then start from a random
    cotangent.
    """
    try:
        return measure_start(model, batch, target, loss), ""
    except FitError as error:
        if target is None and loss is None:
            raise
        measurement = measure_start(model, batch)  # raises again if the model is what fails
        return measurement, str(error)


def _find_obstacle(model: nn.Module) -> str:
    """Why a model cannot be run and watched; empty if it can."""
    if isinstance(model, torch.jit.ScriptModule):
        return (
            "A scripted module cannot be watched. Audit the module that torch.jit.script was given."
        )
    tensors = [*model.parameters(), *model.buffers()]
    if any(one.is_meta for one in tensors):
        return (
            "The model is on the device meta and has no numbers. Give it memory (to_empty, or "
            "fanin.initialize(…, materialize='cpu')) first."
        )
    return ""


def judge(examination: Examination) -> tuple[Finding, ...]:
    """What all judges find, without what follows from another finding, the worst first. Findings
    whose judge has no patch get what may repair them.
    """
    found: list[Finding] = []
    for one in JUDGES:
        try:
            found += one(examination)
        except Exception as error:  # the other judges must still be heard
            examination.add_note(
                f"{one.__name__} could not judge this model: {type(error).__name__}: "
                f"{quote(str(error), 200)}."
            )
    kept = complete_findings(examination, drop_consequences(found))
    return tuple(sorted(kept, key=lambda finding: SEVERITIES.index(finding.severity)))
