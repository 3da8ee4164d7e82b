"""What the tests of tables and figures share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from metadiffuser import paths
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting.evidence import Evidence
from tests.helpers import fabricated
from tests.helpers.reported import PARAMS, metrics_files


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of a run of ``make_tables`` on fabricated metrics of two training seeds."""
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fabricated.write_metrics(PARAMS)
        fabricated.run_stage("make_tables", PARAMS)
        yield folder


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that a run of ``make_figures`` on fabricated metrics of two training seeds writes."""
    folder = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fabricated.write_metrics(PARAMS)
        fabricated.write_curves(PARAMS)
        fabricated.run_stage("make_figures", PARAMS)
        yield folder / paths.FIGURES.format(preset=PARAMS.preset)


@pytest.fixture(scope="module")
def evidence(figures: Path) -> Evidence:
    """The evidence that the figures were made from, without curves."""
    assert figures.is_dir()
    baselines = [
        Path(paths.BASELINE_METRICS.format(preset="smoke", family=family, method=method, seed=seed))
        for family, method, seed in itertools.product(PARAMS.families, PARAMS.baselines, PARAMS.seeds)
    ]
    return Evidence(
        planner=metrics_files(paths.PLANNER_METRICS),
        baselines=baselines,
        dataset=metrics_files(paths.DATASET_METRICS),
        context=metrics_files(paths.CONTEXT_METRICS),
        representation="generalised",
        seed=0,
        bootstrap=Bootstrap(0.95, 200),
        digits=1,
    )
