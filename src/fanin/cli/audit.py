"""``fanin audit``: what is wrong with a model's start, before it is trained."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from fanin.cli.command_output import CommandOutput
from fanin.cli.json_option import JsonOption


def audit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="file.py:callable or package.module:callable that returns the model.",
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="SHAPE",
            help="What the model is given: 8x3x32x32 draws standard normal numbers, "
            "8x128:int:50257 whole numbers below 50257. Once per argument; name=SHAPE for "
            "keywords. Or a file .npz or .safetensors with x (or keywords) and y.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="SHAPE",
            help="What the output is compared with: 8:int:10 for labels, 8x1 for numbers. "
            "Without it nothing is said of the loss.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="NAME", help="Initialize the model first: he_normal, auto, lsuv."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the model, the inputs, the repairs.")] = 0,
    level: Annotated[
        str,
        typer.Option("--level", metavar="LEVEL", help="fast, or full: several seeds and steps."),
    ] = "fast",
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare", metavar="A,B,C", help="Rank initializers for this model, without training."
        ),
    ] = None,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Repair a copy, audit it again, and print the code to paste."),
    ] = False,
    forecast: Annotated[
        str | None,
        typer.Option(
            "--forecast",
            metavar="OPTIMIZER",
            help="Whether training will work with adam, adamw or sgd, from the start alone. Needs "
            "--target.",
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", help="The steps that --forecast is about.")
    ] = 150,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore", metavar="CODE[:PLACE]", help="A finding that is meant: F012:head.*"
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", metavar="FILE", help="Accepted findings; only others count."),
    ] = None,
    write_baseline: Annotated[
        bool,
        typer.Option("--write-baseline", help="Accept all findings: write them to --baseline."),
    ] = False,
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="text, json or sarif.")
    ] = "text",
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Also write a page with charts and all layers."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Find what is wrong with a model's start, before it is trained.

    Runs one forward and backward pass, and judges signals, gradients, weights, data and loss. The
    model is left unchanged. Give real data where you can: shapes alone cannot show how inputs and
    labels are scaled.

    \b
    Examples:
      fanin audit train.py:make_model --input 8x3x32x32 --target 8:int:10
      fanin audit gpt.py:GPT --input 4x128:int:50257 --target 4x128:int:50257
      fanin audit net.py:Net --input batch.npz --html audit.html
      fanin audit net.py:Net --input 64x20 --init he_normal --fix
      fanin audit net.py:Net --input 64x20 --compare he_normal,orthogonal
      fanin audit net.py:Net --input batch.npz --forecast adam
      fanin audit net.py:Net --input 64x20 --baseline audit.json --write-baseline

    \b
    Exit codes: 0 no errors found · 1 errors found · 2 usage, or the model cannot be run
    """
    from fanin.cli.audit_run import AuditRequest, answer

    request = AuditRequest(
        reference=model,
        inputs=tuple(inputs or ()),
        target=target,
        init=init,
        seed=seed,
        level=level,
        compared=compare,
        fix=fix,
        forecast=forecast,
        steps=steps,
        ignore=tuple(part for text in ignore or () for part in text.split(",")),
        baseline=baseline,
        writes_baseline=write_baseline,
        form="json" if as_json and form == "text" else form,
        html=html,
        as_json=as_json,
    )
    # What user code prints must not get between the lines of a format.
    with contextlib.redirect_stdout(sys.stderr):
        return answer(request)
