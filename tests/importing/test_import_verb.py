"""``metadiffuser import``: what it puts in place, what it leaves alone, and what it refuses."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from metadiffuser import cli, paths
from metadiffuser.artifacts import read_json
from metadiffuser.config.checked import KEPT
from metadiffuser.config.loading import load
from metadiffuser.data.minari_store import read_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.pipeline import dag, engine, locks, records
from tests.conftest import ROOT, whole
from tests.helpers.foreign import TASKS, write_foreign
from tests.helpers.imports import CARD, DATASET, IN_PLACE, METRICS, PRESET

EPISODES = "\n  episodes: 3"


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != KEPT.name)
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


class TestInPlace:
    """The verb in a folder with the smoke preset in force."""

    @pytest.fixture(autouse=True)
    def project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        root = tmp_path / "project"
        root.mkdir()
        shutil.copytree(ROOT / "presets", root / "presets")
        text = whole()
        (root / "params.yaml").write_text(text.replace("seed: 0\n", "seed: 0  # a remark\n", 1))
        monkeypatch.chdir(root)
        return root

    def bring(self, folder: Path, *options: str) -> int:
        return cli.main(["import", "--family", "point_robot", "--from", str(folder), *options])

    def test_tasks_datasets_anchors_and_card_are_those_of_the_data(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        episodes = write_foreign(tmp_path / "data")
        assert self.bring(tmp_path / "data") == 0
        said = capsys.readouterr().out
        assert "3 training and 2 unseen tasks, 30 episodes" in said
        assert re.search(r"they differ from the family's reward function by \d\S* at most", said)
        assert read_tasks(Path(paths.TASKS.format(**PRESET))) == TASKS
        stored = read_family(DATASET, TASKS, ["expert", "medium", "random", "mixed"])
        metrics = read_json(METRICS)
        assert (metrics["source"], metrics["labels"], metrics["joined"]) == ("imported", "ranked", True)
        for index, played in episodes.items():
            order = np.sort(played.returns)[::-1]
            anchors = metrics["anchors"][str(index)]
            assert anchors["expert"] == pytest.approx(order[:2].mean(), rel=1e-6)
            assert anchors["random"] == pytest.approx(order[-2:].mean(), rel=1e-6)
            assert sorted(stored["mixed"][index].returns) == sorted(played.returns)
            assert stored["expert"][index].returns.min() >= stored["medium"][index].returns.max()
        text = (CARD / "README.md").read_text()
        assert "Imported with `metadiffuser import`" in text
        size = sum(path.stat().st_size for path in DATASET.rglob("*") if path.is_file())
        assert f"| size on disk | {size / 1e6:,.1f} MB |" in text
        assert (CARD / "returns.svg").is_file()

    def test_one_key_of_the_parameters_changes_and_remarks_stay(self, tmp_path: Path) -> None:
        before = Path("params.yaml").read_text()
        write_foreign(tmp_path / "data")
        assert self.bring(tmp_path / "data") == 0
        after = Path("params.yaml").read_text()
        (stored,) = Path("imports/point_robot").iterdir()
        assert after.replace(f"tasks:\n      imported: {stored.stem}\n", "tasks: none\n", 1) == before
        assert "# a remark" in after
        assert load().section("tasks", "point_robot").imported == stored.stem
        assert load().section("tasks", "cheetah_vel").imported is None

    def test_jobs_hold_and_only_those_of_the_family_are_told(self, tmp_path: Path) -> None:
        before = {job.name: job.params for job in dag.jobs(load())}
        write_foreign(tmp_path / "data")
        assert self.bring(tmp_path / "data") == 0
        jobs = {job.name: job for job in dag.jobs(load())}
        changed = {name for name, job in jobs.items() if job.params != before[name]}
        assert changed == {"define_tasks@smoke-point_robot", "make_report@smoke"}
        held = {name for name, job in jobs.items() if records.is_current(job)}
        assert held == {name for name in jobs if name.split("@")[0] in IN_PLACE and "point_robot" in name}

    @pytest.mark.slow
    def test_the_same_data_again_change_nothing_and_other_data_do(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_foreign(tmp_path / "data")
        assert self.bring(tmp_path / "data") == 0
        before, times = files(Path()), {path: path.stat().st_mtime_ns for path in Path("artifacts").rglob("*")}
        shutil.move(tmp_path / "data", tmp_path / "moved")
        assert self.bring(tmp_path / "moved") == 0
        assert files(Path()) == before
        assert {path: path.stat().st_mtime_ns for path in Path("artifacts").rglob("*")} == times
        write_foreign(tmp_path / "moved", seed=1)
        assert self.bring(tmp_path / "moved") == 0
        assert files(DATASET) != {
            name.removeprefix(f"{DATASET}/"): b for name, b in before.items() if str(DATASET) in name
        }
        assert len(list(Path("imports/point_robot").iterdir())) == 2

    def test_settings_of_behaviour_and_dataset_leave_imported_episodes_as_they_are(self, tmp_path: Path) -> None:
        write_foreign(tmp_path / "data")
        assert self.bring(tmp_path / "data") == 0
        model = "train_context@smoke-point_robot-generalised-0"

        def standing() -> tuple[dict[str, bytes], bytes, bytes, str]:
            (job,) = (job for job in dag.jobs(load()) if job.name == model)
            return files(DATASET), METRICS.read_bytes(), (CARD / "README.md").read_bytes(), records.fingerprint(job)

        before = standing()
        text = Path("params.yaml").read_text()
        for old, new in (
            ("shards: [0, 1]", "shards: [0]"),
            ("  steps: 3200", "  steps: 2400"),
            (EPISODES, f"{EPISODES}0"),
        ):
            assert old in text
            text = text.replace(old, new, 1)
        Path("params.yaml").write_text(text)
        mine = [job for job in dag.jobs(load()) if job.stage.name in IN_PLACE and "point_robot" in job.name]
        stale = [job for job in mine if not records.is_current(job)]
        assert [job.stage.name for job in stale] == ["train_behaviour", "collect_dataset"]
        for job in stale:
            assert cli.main(job.command.split()[1:]) == 0
        assert standing() == before
        assert all(records.is_current(job) for job in mine)

    @pytest.mark.parametrize("damage", ["width", "nan", "empty", "swapped"])
    def test_damaged_arrays_are_one_sentence_and_nothing_is_written(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
    ) -> None:
        write_foreign(tmp_path / "data")
        path = tmp_path / "data" / "goal4.npz"
        with np.load(path) as archive:
            arrays = dict(archive)
        if damage == "width":
            arrays["actions"] = arrays["actions"][:, :1]
        elif damage == "nan":
            arrays["rewards"][11] = np.nan
        elif damage == "empty":
            arrays = {name: array[:0] for name, array in arrays.items()}
        else:
            arrays["observations"], arrays["next_observations"] = arrays["next_observations"], arrays["observations"]
        named = {
            "width": "actions has shape (120, 1); expected (120, 2)",
            "nan": "rewards[11] is nan; expected finite",
            "empty": "observations is empty; expected at least one episode",
            "swapped": "next_observations[0] differs from observations",
        }[damage]
        np.savez(path, **arrays)
        before = files(Path())
        assert self.bring(tmp_path / "data") == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"metadiffuser: {path}: {named}")
        assert said.err.count("\n") == 1
        assert files(Path()) == before
        assert not Path("imports").exists()

    @pytest.mark.parametrize("damage", ["array", "list", "folder", "family", "locked", "job"])
    def test_bad_data_are_one_sentence_and_nothing_is_written(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str, request: pytest.FixtureRequest
    ) -> None:
        write_foreign(tmp_path / "data")
        words, named = ["import", "--family", "point_robot", "--from", str(tmp_path / "data")], ""
        if damage == "array":
            np.savez(tmp_path / "data" / "goal4.npz", observations=np.zeros((20, 3)))
            named = "goal4.npz: has no array 'actions'"
        elif damage == "list":
            (tmp_path / "data" / "tasks.json").write_text("{")
            named = "tasks.json: not valid JSON"
        elif damage == "folder":
            words[-1] += "x"
            named = "expected a folder"
        elif damage == "family":
            words[2] = "point_robto"
            named = "did you mean 'point_robot'?"
        elif damage == "job":
            job = locks.exclusive("define_tasks@smoke-point_robot")
            job.__enter__()
            request.addfinalizer(lambda: job.__exit__(None, None, None))
            named = "define_tasks@smoke-point_robot (process "
        else:
            engine.RUN.parent.mkdir(parents=True)
            held = engine.RUN.open("w")
            request.addfinalizer(held.close)
            fcntl.flock(held, fcntl.LOCK_EX)
            other = engine.Engine.of("Snakemake", os.getppid())
            assert other is not None
            json.dump(asdict(other), held)
            held.flush()
            named = f"Snakemake (process {os.getppid()}) is at work in this checkout; wait"
        before = files(Path())
        assert cli.main(words) == 2
        said = capsys.readouterr()
        assert named in said.err
        assert said.err.startswith("metadiffuser: ")
        assert said.err.count("\n") == 1
        assert files(Path()) == before
        assert not Path("imports").exists()

    def test_a_lost_or_altered_store_is_named_by_the_stages(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_foreign(tmp_path / "data")
        assert self.bring(tmp_path / "data") == 0
        (stored,) = Path("imports/point_robot").iterdir()
        stored.write_bytes(stored.read_bytes() + b"x")
        before = files(Path("artifacts"))
        for stage in ("define_tasks", "collect_dataset"):
            assert cli.main([stage, "--family", "point_robot"]) == 2
            assert "its contents are not those that were imported" in capsys.readouterr().err
        stored.unlink()
        assert cli.main(["define_tasks", "--family", "point_robot"]) == 2
        assert f"{stored}: missing; run 'metadiffuser import'" in capsys.readouterr().err
        assert files(Path("artifacts")) == before

    @pytest.mark.parametrize(
        ("split", "kept", "said"),
        [
            ("train", 1, "the number of tasks with the split 'train' is 1, but focal needs 2 or more; add tasks, or"),
            ("test", 1, "the number of tasks with the split 'test' is 1, but wrong_task in evaluation.contexts takes"),
        ],
    )
    def test_too_few_tasks_are_refused_before_anything_is_read(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str, kept: int, said: str
    ) -> None:
        write_foreign(tmp_path / "data")
        path = tmp_path / "data" / "tasks.json"
        tasks = json.loads(path.read_text())["tasks"]
        few = [task for task in tasks if task["split"] == split][:kept]
        path.write_text(json.dumps({"tasks": few + [task for task in tasks if task["split"] != split]}))
        (tmp_path / "data" / "goal0.npz").write_bytes(b"")  # would be refused, were it read
        before = files(Path())
        assert self.bring(tmp_path / "data") == 2
        assert f"metadiffuser: {tmp_path / 'data'}: {said}" in capsys.readouterr().err
        assert files(Path()) == before

    def test_few_tasks_are_enough_where_nothing_needs_more(self, tmp_path: Path) -> None:
        text = Path("params.yaml").read_text()
        text = re.sub(r"^baselines: .*$", "baselines: [bc]", text, flags=re.M)
        text = text.replace("wrong_task, ", "", 1)
        Path("few.yaml").write_text(re.sub(r"^baseline:\n( .*\n)+", "", text, flags=re.M))
        assert cli.main(["use", "few.yaml"]) == 0
        assert "wrong_task" not in load().section("evaluation", "point_robot").contexts
        write_foreign(tmp_path / "data")
        path = tmp_path / "data" / "tasks.json"
        tasks = json.loads(path.read_text())["tasks"]
        path.write_text(json.dumps({"tasks": [tasks[0], tasks[-1]]}))
        assert self.bring(tmp_path / "data") == 0

    def test_actions_on_another_scale_are_imported_with_it(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        episodes = write_foreign(tmp_path / "data")
        for path in (tmp_path / "data").glob("*.npz"):
            with np.load(path) as archive:
                arrays = dict(archive)
            arrays["actions"] = np.float32(0.1) * arrays["actions"]
            np.savez(path, **arrays)
        assert self.bring(tmp_path / "data") == 2
        assert "import with --action-scale 10)" in capsys.readouterr().err
        assert self.bring(tmp_path / "data", "--action-scale", "30") == 2
        assert "import with --action-scale 10)" in capsys.readouterr().err
        assert self.bring(tmp_path / "data", "--action-scale", "10") == 0
        assert "Actions: stored ones were multiplied by 10." in capsys.readouterr().out
        stored = read_family(DATASET, TASKS, ["mixed"])["mixed"][0]
        wanted = np.sort(episodes[0].actions.reshape(len(episodes[0]), -1), axis=0)
        np.testing.assert_allclose(np.sort(stored.actions.reshape(wanted.shape), axis=0), wanted, rtol=0, atol=1e-6)
        assert read_json(METRICS)["action_scale"] == 10
        assert "Stored actions were multiplied by 10." in (CARD / "README.md").read_text()
        for wrong in ("0", "-1", "inf", "x"):
            with pytest.raises(SystemExit):
                self.bring(tmp_path / "data", "--action-scale", wrong)

    def test_parameters_with_a_byte_order_mark_are_edited_all_the_same(self, tmp_path: Path) -> None:
        Path("params.yaml").write_bytes(Path("params.yaml").read_text().encode("utf-8-sig"))
        write_foreign(tmp_path / "data")
        assert self.bring(tmp_path / "data") == 0
        assert load().section("tasks", "point_robot").imported is not None

    def test_reward_tolerance(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_foreign(tmp_path / "data")
        listed = json.loads((tmp_path / "data" / "tasks.json").read_text())
        listed["tasks"][0]["goal"][0] += 0.01
        (tmp_path / "list.json").write_text(json.dumps(listed))
        own = ("--tasks", str(tmp_path / "list.json"))
        assert self.bring(tmp_path / "data", *own) == 2
        assert "--reward-tolerance" in capsys.readouterr().err
        assert self.bring(tmp_path / "data", *own, "--reward-tolerance", "0.02") == 0
        assert 0.005 < read_json(METRICS)["reward_difference"] < 0.02
        with pytest.raises(SystemExit):
            self.bring(tmp_path / "data", "--reward-tolerance", "-1")

    def test_state_tolerance(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_foreign(tmp_path / "data")
        with np.load(tmp_path / "data" / "goal2.npz") as archive:
            arrays = dict(archive)
        arrays["actions"][5] = -np.sign(arrays["actions"][5])
        np.savez(tmp_path / "data" / "goal2.npz", **arrays)
        assert self.bring(tmp_path / "data") == 2
        assert "goal2.npz: next_observations[5] has " in capsys.readouterr().err
        assert self.bring(tmp_path / "data", "--state-tolerance", "0.3") == 2
        assert "goal2.npz: rewards[5] is " in capsys.readouterr().err, "at the state in the file the reward is lower"
        assert self.bring(tmp_path / "data", "--state-tolerance", "0.3", "--reward-tolerance", "0.3") == 0
        metrics = read_json(METRICS)
        assert 0.1 <= metrics["state_difference"] <= 0.2
        assert 0.01 <= metrics["reward_difference"] <= 0.3
        assert (metrics["steps"], metrics["not_restored"]) == (600, 0)
        assert re.search(r"differ from the family's physics by 0\.[12]\d* at most\.", capsys.readouterr().out)

    def test_an_import_for_all_families_at_once_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = Path("params.yaml").read_text()
        Path("params.yaml").write_text(text.replace("tasks:\n", f"tasks:\n  imported: {'a' * 32}\n", 1))
        assert cli.main(["define_tasks", "--family", "point_robot"]) == 2
        assert "it goes under overrides.<family>.tasks" in capsys.readouterr().err
