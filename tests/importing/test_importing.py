"""Other people's data: the episodes that they become, and their ranking."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metadiffuser.data.minari_store import Provenance, write_dataset
from metadiffuser.envs import Task
from metadiffuser.importing.assemble import rank
from metadiffuser.importing.dataset import imported_dataset
from metadiffuser.importing.summary import summarise
from metadiffuser.importing.tasklist import LABELS, REQUIRED
from tests.conftest import ROOT
from tests.helpers.foreign import FAMILY, STEPS, TASKS, arrays_of, edit, edit_list, imported, play, write_foreign


class TestReading:
    def test_the_steps_of_a_file_become_its_episodes(self, tmp_path: Path) -> None:
        expected = write_foreign(tmp_path)
        found = imported(tmp_path)
        assert found.tasks == TASKS
        for index, episodes in expected.items():
            parts = [found.episodes[quality][index] for quality in ("expert", "medium", "random")]
            for name in ("observations", "actions", "rewards"):
                joined = np.concatenate([getattr(part, name) for part in parts])
                order = np.argsort(-episodes.returns, kind="stable")
                chosen = np.concatenate([np.sort(order[start : start + 2]) for start in (0, 2, 4)])
                np.testing.assert_array_equal(joined, getattr(episodes, name)[chosen])
        assert found.notes["labels"] == "ranked"
        assert 0 <= found.notes["reward_difference"] < 1e-5

    @pytest.mark.parametrize(
        "shape",
        [
            lambda a: a.pop("episode_ends"),
            lambda a: a.update(terminals=0 * a["episode_ends"], timeouts=a.pop("episode_ends")),
            lambda a: a.update(dones=0 * a.pop("episode_ends")),
            lambda a: a.update(rewards=a["rewards"][:, None]),
            lambda a: a.update({name: array.reshape(-1, STEPS, *array.shape[1:]) for name, array in a.items()}),
            lambda a: a.update({name: array.astype(float) for name, array in a.items()}),
            lambda a: a.update({"infos/qpos": a["observations"]}),
        ],
        ids=["no ends", "timeouts", "never done", "rewards (N, 1)", "(E, T)", "float64", "other arrays"],
    )
    def test_other_layouts_are_the_same_data(self, folder: Path, shape: Callable[[dict[str, Any]], Any]) -> None:
        before = imported(folder)
        for task in TASKS:
            edit(folder / f"goal{task.index}.npz", shape)
        after = imported(folder)
        for quality, by_task in before.episodes.items():
            for index, episodes in by_task.items():
                for name in ("observations", "actions", "rewards"):
                    other = getattr(after.episodes[quality][index], name)
                    np.testing.assert_array_equal(other, getattr(episodes, name))

    @pytest.mark.parametrize(
        ("notes", "said"),
        [
            ({"not_restored": 0}, None),
            ({"not_restored": 7}, r"Not compared: 7 of 600 steps, whose observations show velocities"),
            ({"not_restored": 600, "reward_difference": None}, r"Not compared: no step\. .* are not checked\."),
        ],
    )
    def test_what_was_not_compared_is_said_with_its_reason(
        self, folder: Path, notes: dict[str, Any], said: str | None
    ) -> None:
        found = imported(folder)
        lines = summarise(replace(found, notes={**found.notes, **notes}))
        matching = [line for line in lines if line.startswith("Not compared")]
        assert len(matching) == (said is not None)
        assert said is None or re.match(said, matching[0])

    def test_tasks_whose_experts_earn_no_more_than_random_episodes_are_named(self, folder: Path) -> None:
        assert not [line for line in summarise(imported(folder)) if "No normalised score" in line]
        edit(folder / "goal1.npz", lambda a: a.update({name: np.tile(x[:STEPS].T, 6).T for name, x in a.items()}))
        words = "where expert episodes earn no more than random ones"
        assert f"No normalised score: task 1, {words}." in summarise(imported(folder))

        def label(record: dict[str, Any]) -> None:
            for entry in record["tasks"]:
                entry["data"] = dict.fromkeys(("expert", "medium", "random"), entry["data"])

        edit_list(folder, label)
        remark = f"No normalised score: tasks 0, 1, 2, 3, 4, {words} (are the labels exchanged?)."
        assert remark in summarise(imported(folder))

    def test_labels_are_kept(self, folder: Path) -> None:
        def label(record: dict[str, Any]) -> None:
            for entry, other in zip(record["tasks"], (1, 2, 0, 4, 3), strict=True):  # of the same split
                # The labels say the opposite of the returns: a ranking would undo them.
                worse = f"goal{other}.npz"
                entry["data"] = {"expert": worse, "medium": worse, "random": entry["data"]}

        edit_list(folder, label)
        found = imported(folder, reward=10)
        np.testing.assert_array_equal(found.episodes["expert"][0].actions, play(TASKS[1], 6).actions)
        np.testing.assert_array_equal(found.episodes["random"][0].actions, play(TASKS[0], 6).actions)
        assert found.notes["labels"] == "given"

    def test_episodes_labelled_mixed_are_the_mixed_ones_and_otherwise_all_of_a_task_are(self, folder: Path) -> None:
        def label(record: dict[str, Any]) -> None:
            for entry in record["tasks"]:
                entry["data"] = dict.fromkeys(labels, entry["data"])

        for labels, count in ((REQUIRED, 18), (LABELS, 6)):
            write_foreign(folder)
            edit_list(folder, label)
            made = imported_dataset(imported(folder), "", ["mixed"])
            assert {len(episodes) for episodes in made.collected["mixed"].episodes.values()} == {count}
            assert made.origin["joined"] == ("mixed" not in labels)

    def test_minari_datasets_of_this_project_need_no_list(self, tmp_path: Path) -> None:
        for task in TASKS:
            for number, quality in enumerate(("expert", "medium", "random")):
                episodes = play(task, 3, seed=number)
                write_dataset(tmp_path, FAMILY, task, quality, episodes, Provenance({}, 0.0, 1.0))
        found = imported(tmp_path)
        assert found.tasks == TASKS
        np.testing.assert_array_equal(found.episodes["medium"][2].rewards, play(TASKS[2], 3, seed=1).rewards)

    def test_tasks_of_unequal_size_are_cut_to_the_smallest_over_their_whole_ranking(self, tmp_path: Path) -> None:
        expected = write_foreign(tmp_path, (6, 9, 6, 12, 7))
        found = imported(tmp_path)
        assert found.notes["left_out"] == 10
        assert {len(by_task[i]) for by_task in found.episodes.values() for i in by_task} == {2}
        kept = np.concatenate([found.episodes[quality][3].returns for quality in found.episodes])
        assert kept.max() == expected[3].returns.max()
        assert kept.min() == expected[3].returns.min()

    @pytest.mark.parametrize("count", [3, 4, 5, 10])
    def test_ranking_divides_all_episodes_and_orders_the_parts(self, count: int) -> None:
        episodes = play(TASKS[0], count)
        parts = rank(episodes)
        assert [len(parts[quality]) for quality in parts] == [count // 3, count - 2 * (count // 3), count // 3]
        assert parts["expert"].returns.min() >= parts["medium"].returns.max()
        assert parts["medium"].returns.min() >= parts["random"].returns.max()
        assert sorted(np.concatenate([p.returns for p in parts.values()])) == sorted(episodes.returns)


def test_the_example_of_the_documentation_imports(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "tasks.json").write_text(example)
    for index, record in enumerate(json.loads(example)["tasks"]):
        arrays = arrays_of(play(Task(index, record["split"], {"goal": tuple(record["goal"])}), 3))
        assert all(f"| `{name}` |" in page for name in arrays)
        np.savez(tmp_path / record["data"], **arrays)  # type: ignore[arg-type]
    assert [task.split for task in imported(tmp_path).tasks] == ["train", "train", "test"]
