"""``metadiffuser export``: what is written is what is imported again, and a folder is written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import minari
import numpy as np
import pytest

from metadiffuser import cli, paths
from metadiffuser.artifacts import write_json
from metadiffuser.config.loading import load
from metadiffuser.data.minari_store import DATA_FILE, Provenance, data_folder, read_family, write_dataset
from metadiffuser.envs.shared.tasks import LEFT_OUT
from metadiffuser.importing.assemble import assemble
from metadiffuser.importing.comparison import Tolerances
from metadiffuser.importing.tasklist import LABELS, read_task_list
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.export_data import FORMATS, MINARI
from tests.conftest import ROOT, whole
from tests.helpers.foreign import FAMILY, STEPS, TASKS, play

PRESET = {"preset": "smoke", "family": "point_robot"}
DATASET = Path(paths.DATASET.format(**PRESET))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with datasets of five Point-Robot tasks."""
    root = tmp_path / "project"
    root.mkdir()
    shutil.copytree(ROOT / "presets", root / "presets")
    (root / "params.yaml").write_text(whole())
    monkeypatch.chdir(root)
    record = {"family": "point_robot", "tasks": [task.to_json() for task in TASKS]}
    write_json(Path(paths.TASKS.format(**PRESET)), record)
    for task in TASKS:
        for number, quality in enumerate(LABELS):
            write_dataset(DATASET, FAMILY, task, quality, play(task, 3, seed=number), Provenance({}, 0.0, 1.0))
    write_json(DATASET / LEFT_OUT, [])
    return root


def export(layout: str, target: str = "out", *more: str) -> int:
    return cli.main(["export", "--family", "point_robot", "--format", layout, "--to", target, *more])


def test_the_verb_knows_the_formats() -> None:
    assert set(cli.FORMATS) == {MINARI, *FORMATS}
    assert cli.QUALITIES == LABELS


@pytest.mark.parametrize("layout", cli.FORMATS)
def test_what_is_exported_is_imported_as_the_same_arrays(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(layout, "a/b") == 0
    said = capsys.readouterr().out
    assert "5 tasks of Point-Robot with 60 episodes of expert, medium, random, mixed data" in said
    assert f"This reads them back:\n  metadiffuser import --family point_robot --from {Path('a/b').resolve()}\n" in said
    found = assemble(read_task_list(Path("a/b"), None, FAMILY), FAMILY, Tolerances(1e-3, 2e-2))
    assert found.tasks == TASKS
    stored = read_family(DATASET, TASKS, LABELS)
    for quality, by_task in stored.items():
        for index, episodes in by_task.items():
            for name in ("observations", "actions", "rewards"):
                again = getattr(found.episodes[quality][index], name)
                np.testing.assert_array_equal(again, getattr(episodes, name))
                assert again.dtype == np.float32


def test_datasets_of_other_parameters_are_said_to_be_that(capsys: pytest.CaptureFixture[str]) -> None:
    assert export("npz", "unknown") == 0
    assert capsys.readouterr().err == "", "without a record nobody knows"
    job = dag.find_job("collect_dataset", {"family": "point_robot"}, load())
    former = {"cmd": "", "params": {"params.yaml": {**job.params, "seed": 99}}}
    write_json(Path("dvc.lock"), {"stages": {job.name: former}})
    assert export("npz", "stale") == 0
    said = capsys.readouterr().err
    assert (
        said == f"{DATASET}: made with other parameters, code or inputs than today's; collect_dataset makes it anew\n"
    )


def test_a_mounted_folder_is_refused_as_it_cannot_be_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("disk").mkdir()
    mounted = Path("disk").resolve()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == mounted)
    assert export("npz", "disk") == 2
    assert f"--to {mounted}: a file system is mounted there; name a new folder in it" in capsys.readouterr().err
    assert export("npz", "disk/new") == 0


def test_d4rl_files_hold_the_arrays_of_d4rl() -> None:
    assert export("d4rl", "out", "--quality", "medium") == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *(f"task00{index}-medium.hdf5" for index in range(5)),
        "tasks.json",
    ]
    with h5py.File("out/task002-medium.hdf5") as file:
        shapes = {name: file[name].shape for name in file}
        assert shapes == {
            "observations": (60, 2),
            "actions": (60, 2),
            "rewards": (60,),
            "next_observations": (60, 2),
            "terminals": (60,),
            "timeouts": (60,),
        }
        assert np.flatnonzero(file["timeouts"]).tolist() == [STEPS - 1, 2 * STEPS - 1, 3 * STEPS - 1]
        assert not file["terminals"][()].any()
    assert json.loads(Path("out/tasks.json").read_text())["tasks"][2]["data"] == "task002-medium.hdf5"


def test_a_copy_of_minari_datasets_is_opened_by_minari(monkeypatch: pytest.MonkeyPatch) -> None:
    (data_folder(DATASET, "point_robot", 1, "expert") / DATA_FILE).chmod(0o444)  # as DVC leaves what it caches
    assert export("minari", "out", "--quality", "expert") == 0
    copied = data_folder(Path("out"), "point_robot", 1, "expert") / DATA_FILE
    assert copied.stat().st_mode & 0o200
    assert not (Path("out/metadiffuser/point_robot/001-medium-v0")).exists()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(Path("out").resolve()))
    dataset = minari.load_dataset("metadiffuser/point_robot/001-expert-v0")
    np.testing.assert_array_equal(dataset[0].actions, play(TASKS[1], 3, seed=0).actions[0])


def test_tasks_that_were_left_out_are_not_exported() -> None:
    write_json(DATASET / LEFT_OUT, [1])
    assert export("npz") == 0
    assert not list(Path("out").glob("task001*"))
    assert len(json.loads(Path("out/tasks.json").read_text())["tasks"]) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--family", "point_robto"], "did you mean 'point_robot'?"),
        (["--family", "ant_dir"], "--family ant_dir: not in params.yaml, which has "),
        (
            ["--family", "cheetah_vel"],
            "artifacts/smoke/datasets/cheetah_vel: missing; run collect_dataset, or 'dvc pull'",
        ),
        (["--to", "params.yaml"], "params.yaml: is a file; expected a new or an empty folder"),
        (["--to", "presets"], "presets: is not empty; expected a new or an empty folder"),
        (["--to", "params.yaml/out"], "params.yaml is a file; expected a new or an empty folder"),
        (["--to", f"{DATASET}/out"], "artifacts, whose files are the jobs' own; name a folder elsewhere"),
        (["--to", "results/smoke/out"], "results, whose files are the jobs' own; name a folder elsewhere"),
        (["--to", "results"], "results, whose files are the jobs' own; name a folder elsewhere"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("npz", "out", *words) == 2
    caught = capsys.readouterr()
    assert said in caught.err
    assert caught.err.count("\n") == 1
    assert caught.out == ""
    assert not Path("out").exists()


@pytest.mark.parametrize("layout", cli.FORMATS)
def test_a_damaged_dataset_is_named_and_nothing_is_written(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = data_folder(DATASET, "point_robot", 3, "random") / DATA_FILE
    damaged.write_bytes(b"x")
    before = set(Path().iterdir())
    assert export(layout) == 2
    assert f"{damaged}: damaged (" in capsys.readouterr().err
    assert set(Path().iterdir()) - {Path(".work")} == before, "more than the parameters that were read"


def test_a_quality_that_params_do_not_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("params.yaml").read_text()
    assert "qualities: [expert, medium, random, mixed]" in text
    text = text.replace("qualities: [expert, medium, random, mixed]", "qualities: [expert, medium, random]", 1)
    text = text.replace("qualities: [mixed", "qualities: [expert")
    Path("params.yaml").write_text(text)
    assert export("npz", "out", "--quality", "mixed") == 2
    assert "--quality mixed: not in dataset.qualities of params.yaml, which has " in capsys.readouterr().err
