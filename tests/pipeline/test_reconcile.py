"""Snakemake asks DVC about the records only where there are files to ask about."""

from __future__ import annotations

from pathlib import Path

import pytest

from metadiffuser.config.loading import load
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, sync
from tests.conftest import ROOT

PARAMS = load(ROOT / "presets" / "smoke.yaml")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin where nothing is, not even DVC's own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sync, "CHANGED", {})


def test_before_the_first_run_there_is_nothing_to_ask() -> None:
    sync.reconcile(PARAMS, {})
    assert sync.CHANGED == {}
    assert not Path("dvc.lock").exists()


def test_a_damaged_record_is_named_before_the_first_run() -> None:
    Path("dvc.lock").write_text("stages: [")
    with pytest.raises(InputError, match=r"^dvc\.lock: damaged"):
        sync.reconcile(PARAMS, {})


def test_with_the_outputs_of_one_job_dvc_is_asked() -> None:
    for path in dag.jobs(PARAMS)[0].outputs:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("{}")
    with pytest.raises(InputError, match="no DVC record can be kept here"):
        sync.reconcile(PARAMS, {})
