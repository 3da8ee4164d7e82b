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
from metadiffuser.behaviour.collection import Collected, Collector
from metadiffuser.behaviour.policies import Trained
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import Provenance, write_dataset
from metadiffuser.envs import Family, Task, get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.importing.store import imported_digest, read_imported
from metadiffuser.pipeline.run import Run

COMPARED = ("reward_difference", "state_difference", "steps", "untold")  # of imported data

Anchors = dict[int, dict[str, float]]


@dataclass(frozen=True)
class _Harvest:
    """What the datasets are made of.

    Attributes:
        collected: by quality.
        anchors: mean return of random and of expert episodes, by task index.
        origin: what the metrics say of where the data are from.
    """

    collected: Mapping[str, Collected]
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
            for task in tasks:
                anchor = harvest.anchors[task.index]
                provenance = Provenance(result.policies[task.index], anchor["random"], anchor["expert"])
                write_dataset(root, family, task, quality, result.episodes[task.index], provenance)
    size = sum(path.stat().st_size for path in run.path(paths.DATASET).rglob("*") if path.is_file())
    write_json(run.path(paths.DATASET_METRICS), _metrics(family, tasks, harvest) | {"bytes": size})


def _generate(run: Run, family: Family, tasks: Sequence[Task]) -> _Harvest:
    """Run the stored policies of all shards."""
    section = run.section("dataset")
    shards = [Trained.read(path, run.device) for path in run.all_paths(paths.BEHAVIOUR)]
    collector = Collector(family, tasks, shards, section.episodes, run.root_seed, section.threads)
    random, expert = collector.random(), collector.expert()
    collected: dict[str, Collected] = {}
    for quality in section.qualities:
        match quality:
            case "random":
                collected[quality] = random
            case "expert":
                collected[quality] = expert
            case "medium":
                collected[quality] = collector.medium(random, expert)
            case "mixed":
                collected[quality] = collector.mixed()
    return _Harvest(collected, _anchors(tasks, random, expert), {"source": "generated"})


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
    anchors = _anchors(imported.tasks, found["random"], found["expert"])
    collected = {quality: found[quality] for quality in run.section("dataset").qualities}
    notes = {name: imported.notes[name] for name in ("labels", "left_out", *COMPARED)}
    origin = {"source": "imported", "imported": digest, "joined": "mixed" not in imported.episodes, **notes}
    return _Harvest(collected, anchors, origin)


def _anchors(tasks: Sequence[Task], random: Collected, expert: Collected) -> Anchors:
    return {
        task.index: {"random": random.mean_return(task.index), "expert": expert.mean_return(task.index)}
        for task in tasks
    }


def _metrics(family: Family, tasks: Sequence[Task], harvest: _Harvest) -> dict[str, Any]:
    """Return DATASET_METRICS."""
    rewards = [episodes.rewards for result in harvest.collected.values() for episodes in result.episodes.values()]
    return {
        "family": family.name,
        **harvest.origin,
        "tasks": [task.to_json() for task in tasks],
        "returns": {
            quality: {str(index): episodes.returns.tolist() for index, episodes in result.episodes.items()}
            for quality, result in harvest.collected.items()
        },
        "policies": {quality: list(result.policies.values()) for quality, result in harvest.collected.items()},
        "anchors": {str(index): anchor for index, anchor in harvest.anchors.items()},
        "optimum": {str(task.index): family.optimum(task) for task in tasks} if family.optimum else {},
        "episodes": sum(len(block) for block in rewards),
        "transitions": sum(block.size for block in rewards),
    }
