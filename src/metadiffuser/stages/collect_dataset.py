"""Stage ``collect_dataset``: episodes of every task and quality as Minari datasets, and the anchors of scores.

The episodes are those of the behaviour policies or, where the family's data are imported, the imported ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory, write_json
from metadiffuser.behaviour.collection import Anchors, Collected, Collector
from metadiffuser.behaviour.gains import left_out, usable_tasks
from metadiffuser.behaviour.policies import Trained
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import Provenance, write_dataset
from metadiffuser.envs import Family, Task, get_family
from metadiffuser.envs.shared.tasks import read_tasks, write_left_out
from metadiffuser.importing.store import imported_digest, read_imported
from metadiffuser.pipeline.run import Run

COMPARED = ("reward_difference", "state_difference", "steps", "untold")  # of imported data


@dataclass(frozen=True)
class _Harvest:
    """What the datasets are made of.

    Attributes:
        collected: by quality.
        tasks: those that the datasets are of.
        anchors: of these and of those that are left out.
        origin: what the metrics say of where the data are from.
    """

    collected: Mapping[str, Collected]
    tasks: Sequence[Task]
    anchors: Anchors
    origin: Mapping[str, Any]


def run(run: Run) -> None:
    """Write the datasets of one family and their metrics."""
    family = get_family(run.wildcard("family"))
    tasks = read_tasks(run.path(paths.TASKS))
    digest = imported_digest(run.path(paths.TASKS))
    harvest = _generate(run, family, tasks) if digest is None else _take(run, family, digest)
    with whole_directory(run.path(paths.DATASET)) as root:
        for quality, result in harvest.collected.items():
            for task in harvest.tasks:
                anchor = harvest.anchors[task.index]
                provenance = Provenance(result.policies[task.index], anchor["random"], anchor["expert"])
                write_dataset(root, family, task, quality, result.episodes[task.index], provenance)
        write_left_out(root, sorted({task.index for task in tasks} - {task.index for task in harvest.tasks}))
    size = sum(path.stat().st_size for path in run.path(paths.DATASET).rglob("*") if path.is_file())
    write_json(run.path(paths.DATASET_METRICS), _metrics(family, harvest) | {"bytes": size})


def _generate(run: Run, family: Family, tasks: Sequence[Task]) -> _Harvest:
    """Run the stored policies of all shards, and leave tasks out on which the expert gains too little."""
    section = run.section("dataset")
    shards = [Trained.read(path, run.device) for path in run.all_paths(paths.BEHAVIOUR)]
    collector = Collector(
        family, tasks, shards, section.episodes, section.anchor_episodes, run.root_seed, section.threads
    )
    anchors = collector.anchors()
    kept = usable_tasks(family, tasks, anchors, section.least_gain)
    collected = {quality: collector.collect(quality, anchors) for quality in section.qualities}
    origin = {
        "source": "generated",
        "least_gain": section.least_gain,
        "tasks_left_out": left_out(tasks, kept, anchors),
    }
    return _Harvest(collected, kept, anchors, origin)


def _take(run: Run, family: Family, digest: str) -> _Harvest:
    """Take the imported episodes; without data labelled mixed, all of a task's episodes are its mixed ones."""
    imported = read_imported(Path(paths.IMPORTED.format(family=family.name, digest=digest)))
    by_quality = dict(imported.episodes)
    mixed = {
        task.index: Episodes.join([by_task[task.index] for by_task in by_quality.values()]) for task in imported.tasks
    }
    by_quality.setdefault("mixed", mixed)
    found = {
        quality: Collected(
            episodes,
            {
                index: {"algorithm": "imported", "role": quality, "files": imported.notes["files"][str(index)]}
                for index in episodes
            },
        )
        for quality, episodes in by_quality.items()
    }
    anchors = {
        task.index: {name: found[name].mean_return(task.index) for name in ("random", "expert")}
        for task in imported.tasks
    }
    collected = {quality: found[quality] for quality in run.section("dataset").qualities}
    notes = {name: imported.notes[name] for name in ("labels", "left_out", *COMPARED)}
    origin = {"source": "imported", "imported": digest, "joined": "mixed" not in imported.episodes, **notes}
    return _Harvest(collected, imported.tasks, anchors, origin)


def _metrics(family: Family, harvest: _Harvest) -> dict[str, Any]:
    """Return DATASET_METRICS."""
    indices = [task.index for task in harvest.tasks]
    rewards = [result.episodes[index].rewards for result in harvest.collected.values() for index in indices]
    return {
        "family": family.name,
        **harvest.origin,
        "tasks": [task.to_json() for task in harvest.tasks],
        "returns": {
            quality: {str(index): result.episodes[index].returns.tolist() for index in indices}
            for quality, result in harvest.collected.items()
        },
        "policies": {
            quality: [result.policies[index] for index in indices] for quality, result in harvest.collected.items()
        },
        "anchors": {str(index): harvest.anchors[index] for index in indices},
        "optimum": {str(task.index): family.optimum(task) for task in harvest.tasks} if family.optimum else {},
        "episodes": sum(len(block) for block in rewards),
        "transitions": sum(block.size for block in rewards),
    }
