"""The HTML page in a real browser: what Chromium shows of it, with its content policy in force."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from study_cases import INITIALIZERS, plan_of, results_of

from fanin.report.figures.palette import LOSS, METRIC
from fanin.report.results import Results

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
QUIET = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = plan_of([("mlp", "mnist"), ("regression", "california-housing")], replicates=2)
    return Results(plan, results_of(plan)).report(
        tmp_path_factory.mktemp("browser") / "report.html"
    )


def browse(page: Path, *words: str) -> str:
    """Run Chromium on the page in a profile of its own; its standard output."""
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run(
        [str(CHROMIUM), *QUIET, *root, profile, *words, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def screenshot(page: Path, width: int, height: int) -> np.ndarray:
    """What is seen in a window of that size: (height, width, 3), numbers from 0 to 1."""
    target = page.with_name(f"{width}.png")
    browse(page, f"--window-size={width},{height}", f"--screenshot={target}")
    return np.asarray(imread(target))[..., :3]


def share_near(image: np.ndarray, colour: str) -> float:
    """Share of the pixels that are close to a colour."""
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return float((np.abs(image - wanted).max(axis=2) < 0.08).mean())


def test_the_browser_sees_every_row_and_the_curves(page: Path) -> None:
    document = browse(page, "--dump-dom")
    text = re.sub(r"<[^>]+>", " ", document)
    assert all(text.count(name) >= 2 for name in INITIALIZERS)
    assert 'src="data:image/png;base64,' in document


def test_the_curves_are_drawn_although_the_policy_forbids_everything_else(page: Path) -> None:
    seen = screenshot(page, 1200, 2600)
    without = page.with_name("blind.html")
    without.write_text(
        page.read_text(encoding="utf-8").replace("img-src data:", "img-src 'none'"),
        encoding="utf-8",
    )
    blind = screenshot(without, 1200, 2600)
    for colour in (LOSS, METRIC):
        assert share_near(seen, colour) > 3 * share_near(blind, colour) + 1e-5


def test_every_picture_has_a_size_and_none_is_wider_than_the_page_on_a_desk(page: Path) -> None:
    seen = screenshot(page, 1200, 2600)
    right_edge = np.abs(seen[:, -6:] - seen[2, 2]).max(axis=2)
    assert browse(page, "--dump-dom").count("<img src=") == 2
    assert (right_edge < 0.05).all(), "something touches the right edge"


def test_on_a_phone_text_keeps_a_readable_margin(page: Path) -> None:
    seen = screenshot(page, 390, 1200)
    background = seen[2, 2]
    left_edge = np.abs(seen[:, :6] - background).max(axis=2)
    assert seen.shape[1] == 390
    assert (left_edge < 0.05).all(), "something touches the left edge"
    assert (np.abs(seen - background).max(axis=2) > 0.3).mean() > 0.005, "the page is blank"
