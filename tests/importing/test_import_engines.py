"""``metadiffuser import`` into a project that is up to date, and how both engines go on from there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from metadiffuser import paths
from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.records import digest
from tests.helpers.foreign import write_foreign
from tests.helpers.imports import CARD, DATASET, IN_PLACE, METRICS, PRESET
from tests.helpers.stubbed import Stubbed, stubbed_copy

REAL = """#!/bin/sh
case "$1" in
    define_tasks|train_behaviour|*_dataset) echo "$1 real" >> real.log; exec PYTHON -m metadiffuser.cli "$@";;
    *) exec PYTHON STUB "$@";;
esac
"""


def half_stubbed(target: Path) -> Stubbed:
    """A project with one family, its stages up to the datasets real and the others stubs, run by Snakemake once."""
    project = stubbed_copy(target, "smoke")
    text = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(re.sub(r"^families: .*$", "families: [point_robot]", text, flags=re.M))
    project.snakemake()
    project.ran()
    return project


def use_real_stages(project: Stubbed) -> None:
    program = project.root / ".stub" / "metadiffuser"
    program.rename(program.with_name("stub.py"))
    script = REAL.replace("PYTHON", sys.executable).replace("STUB", str(program.with_name("stub.py")))
    program.write_text(script)
    program.chmod(0o755)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    """A project that was up to date when the import came."""
    project = half_stubbed(tmp_path_factory.mktemp("imported") / "project")
    data = project.root.parent / "data"
    write_foreign(data)
    words = ("-m", "metadiffuser.cli", "import", "--family", "point_robot", "--from", str(data))
    said = project.run(sys.executable, *words).stdout
    jobs = dag.jobs(load(project.root / "params.yaml"))
    following = [job for job in jobs if job.stage.name not in IN_PLACE]
    assert f"To be run: {len(following)} of {len(jobs)} jobs." in said
    use_real_stages(project)
    return project


@pytest.mark.engine
class TestEngines:
    """Import into a project that is up to date, then either engine."""

    def after(self, project: Stubbed) -> set[str]:
        """The jobs that follow the datasets."""
        jobs = dag.jobs(load(project.root / "params.yaml"))
        return {job.name for job in jobs if job.stage.name not in IN_PLACE}

    def data(self, project: Stubbed) -> dict[str, str]:
        made = (DATASET, METRICS, CARD, Path(paths.TASKS.format(**PRESET)))
        return {str(path): digest(project.root / path) for path in made}

    def settled(self, project: Stubbed) -> None:
        assert project.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
        assert "Nothing to be done" in project.snakemake("-n")
        project.run("dvc", "repro")
        assert project.ran() == []

    def test_snakemake_goes_on_from_the_imported_data(self, imported: Stubbed, tmp_path: Path) -> None:
        project = imported.twin(tmp_path / "project")
        before = self.data(project)
        project.snakemake()
        assert set(project.ran()) == self.after(project)
        assert not (project.root / "real.log").exists(), "a stage whose place the import has taken was run again"
        assert self.data(project) == before
        self.settled(project)
        assert self.data(project) == before

    def test_dvc_goes_on_from_the_imported_data(self, imported: Stubbed, tmp_path: Path) -> None:
        project = imported.twin(tmp_path / "project")
        before = self.data(project)
        project.run("dvc", "repro")
        assert set(project.ran()) == self.after(project)
        assert self.data(project) == before, "dvc repro has overwritten the imported data"
        self.settled(project)
        assert self.data(project) == before

    def test_without_the_line_both_engines_go_back_to_generated_data(self, imported: Stubbed, tmp_path: Path) -> None:
        project = imported.twin(tmp_path / "project")
        project.snakemake()
        path = project.root / "params.yaml"
        tree: dict[str, Any] = yaml.safe_load(path.read_text())
        del tree["overrides"]["point_robot"]["tasks"]["imported"]
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        everything = {job.name for job in dag.jobs(load(path))}
        assert project.waiting("snakemake") == project.waiting("dvc") == everything

    def test_what_snakemake_would_do_after_an_import_dvc_would_do(self, imported: Stubbed, tmp_path: Path) -> None:
        project = imported.twin(tmp_path / "project")
        planned = project.snakemake("-n")
        assert not re.search(rf"^(local)?rule ({'|'.join(IN_PLACE)}):", planned, re.M)
        assert project.waiting("snakemake") == project.waiting("dvc") == self.after(project)
        assert self.data(project) == self.data(imported)
