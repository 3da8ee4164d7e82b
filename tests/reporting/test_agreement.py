"""A run of one's own beside the committed one: what is the same, what is within the spread over seeds, what is not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from metadiffuser import cli, paths
from metadiffuser.artifacts import read_json
from metadiffuser.errors import InputError
from metadiffuser.reporting import agreement
from tests.helpers import fabricated
from tests.helpers.reported import PARAMS

METRICS = Path("results") / PARAMS.preset / "metrics"
FAMILY = PARAMS.families[0]


def git(*words: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, *words], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a committed run of two seeds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "load", lambda: PARAMS)
    fabricated.write_metrics(PARAMS)
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "a run")
    return tmp_path


def change(points: float) -> None:
    """Raise the first episode of the first cell of one family, in one seed, by normalised points."""
    path = Path(
        paths.PLANNER_METRICS.format(
            preset=PARAMS.preset, family=FAMILY, representation=PARAMS.representations[0], seed=PARAMS.seeds[0]
        )
    )
    content = read_json(path)
    anchors = read_json(Path(paths.DATASET_METRICS.format(preset=PARAMS.preset, family=FAMILY)))["anchors"]
    task, values = next(iter(content["cells"][0]["returns"].items()))
    values[0] += points / 100 * (anchors[task]["expert"] - anchors[task]["random"])
    path.write_text(json.dumps(content), encoding="utf-8")


def write_spread(deviation: float) -> None:
    """A spread file whose cells all have this standard deviation over three runs."""
    scores = [50.0, 50.0 + deviation, 50.0 - deviation]
    cells = [
        dict(zip(agreement.KEYS, cell, strict=True)) | {"scores": scores}
        for cell in agreement.means(agreement.read_run(METRICS)).index
    ]
    path = Path(paths.SPREAD.format(preset=PARAMS.preset))
    path.write_text(json.dumps({"runs": ["a", "b", "c"], "cells": cells}), encoding="utf-8")


def test_an_unchanged_run_is_the_same(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare"]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 1
    count = len(agreement.means(agreement.read_run(METRICS)))
    assert f"{count} the same to the last digit" in said


@pytest.mark.parametrize(
    ("deviation", "code", "word"), [(5.0, 0, "within"), (1e-4, 1, "OUTSIDE"), (None, 0, "no spread")]
)
def test_a_value_changed_by_hand_is_called_out(
    project: Path, capsys: pytest.CaptureFixture[str], deviation: float | None, code: int, word: str
) -> None:
    if deviation is not None:
        write_spread(deviation)
    change(points=3.0)
    assert cli.main(["compare"]) == code
    head, line, last, remark = capsys.readouterr().out.splitlines()
    assert remark.startswith("Another kind of processor changes every trained method.")
    assert head.startswith("family")
    assert line.startswith(FAMILY)
    assert line.endswith(word)
    assert "1 " in last.rsplit(";", 1)[1]


def test_metrics_that_no_job_writes_do_not_count(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of a seed that was taken out of the parameters, or a copy that somebody made."""
    folder = METRICS / "planner" / FAMILY / PARAMS.representations[0]
    content = read_json(folder / "seed0.json")
    for cell in content["cells"]:
        cell["returns"] = {task: [value - 100 for value in values] for task, values in cell["returns"].items()}
    for name, seed in (("seed9.json", 9), ("seed0 (copy).json", 0)):
        (folder / name).write_text(json.dumps(content | {"seed": seed}))
    assert cli.main(["compare"]) == 0
    said = capsys.readouterr().out
    assert f"{folder / 'seed9.json'}: not counted, as no job of {PARAMS.preset} writes it\n" in said
    assert f"{folder / 'seed0 (copy).json'}: not counted" in said
    git("add", ".")
    git("commit", "--quiet", "-m", "with both")
    assert cli.main(["compare"]) == 0, "nor do they if they are committed"


def test_the_project_may_be_a_folder_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir("below")
    monkeypatch.setattr(cli, "load", lambda: PARAMS)
    fabricated.write_metrics(PARAMS)
    git("add", ".")
    git("commit", "--quiet", "-m", "a run")
    assert cli.main(["compare"]) == 0


def test_a_cell_that_one_run_lacks_is_outside(project: Path) -> None:
    committed = agreement.read_run(METRICS)
    own = committed[committed["method"] != committed["method"].iloc[-1]]
    verdicts = {each.cell: each.verdict for each in agreement.agreements(committed, own, {})}
    assert {cell[2] for cell, verdict in verdicts.items() if verdict == agreement.OUTSIDE} == {
        committed["method"].iloc[-1]
    }


def test_scores_are_means_over_tasks_of_means_over_episodes(project: Path) -> None:
    run = agreement.read_run(METRICS)
    cell = agreement.means(run).index[0]
    rows = run[(run[agreement.KEYS] == list(cell)).all(axis=1)]
    by_hand = np.mean([rows[rows["task"] == task]["normalised"].mean() for task in rows["task"].unique()])
    assert agreement.means(run)[cell] == pytest.approx(by_hand)


def test_by_chance_alone_a_run_has_a_cell_outside_in_one_of_twenty_cases() -> None:
    generator = np.random.default_rng(0)
    cells, seeds, runs = 20, 5, 4000
    known = generator.normal(size=(runs, cells, seeds))
    difference = np.abs(generator.normal(size=(runs, cells)) - generator.normal(size=(runs, cells)))
    widths = np.array([[agreement.width(list(cell), cells) for cell in run] for run in known[:200]])
    outside = (difference[:200] > widths).any(axis=1).mean()
    assert 0.01 < outside < 0.10
    assert agreement.width([0.0, 1.0], 1) > norm.ppf(0.975)  # a spread that is known badly is taken to be wider


@pytest.mark.parametrize(("cells", "quantile"), [(1, 4.3027), (10, 14.089)])
def test_the_width_is_that_of_a_two_sided_interval_for_all_cells_together(cells: int, quantile: float) -> None:
    """Quantiles of Student's t with two degrees of freedom at 0.975 and 0.9975, from a printed table."""
    assert agreement.width([49.0, 50.0, 51.0], cells) == pytest.approx(quantile * np.sqrt(2), rel=1e-4)


def test_the_spread_file_holds_every_run(project: Path) -> None:
    before = agreement.means(agreement.read_run(METRICS))
    other = project / "other" / "metrics"
    shutil.copytree(METRICS, other)
    change(points=3.0)
    assert cli.main(["compare", "--write-spread", str(METRICS), str(other)]) == 0
    found = agreement.read_spread(Path(paths.SPREAD.format(preset=PARAMS.preset)))
    for cell, scores in found.items():
        assert scores[1] == pytest.approx(before[cell], abs=1e-3)
    assert sum(abs(first - second) > 0.01 for first, second in found.values()) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--with", "nope"], "nope: git cannot read it"),
        (["--write-spread", "results"], "no metrics of an evaluation"),
        (["--write-spread", str(METRICS)], "one run has no spread"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert cli.main(["compare", *words]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert sentence in said


def test_without_a_run_it_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "load", lambda: PARAMS)
    assert cli.main(["compare"]) == 2
    remedy = f"run 'metadiffuser use {PARAMS.preset}', then 'snakemake --cores all all' first"
    assert capsys.readouterr().err == f"metadiffuser: {METRICS}: no metrics of an evaluation; {remedy}\n"


def test_a_run_whose_preset_nobody_committed_is_no_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git("rm", "-r", "--quiet", "--cached", "results")
    git("commit", "--quiet", "-m", "none")
    assert cli.main(["compare"]) == 0
    assert "nothing to compare" in capsys.readouterr().out


def test_a_run_is_not_its_own_spread(project: Path) -> None:
    run = agreement.read_run(METRICS)
    with pytest.raises(InputError, match="b: the same episodes as a; name runs with different root seeds"):
        agreement.spread([run, run.copy()], ["a", "b"])


def test_runs_of_different_presets_have_no_common_spread(project: Path) -> None:
    run = agreement.read_run(METRICS)
    some: Any = run[run["family"] == FAMILY]
    with pytest.raises(InputError, match="b: other families or methods than a"):
        agreement.spread([run, some], ["a", "b"])
