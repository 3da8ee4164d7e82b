"""Stage ``collect_dataset``: episodes of every task and quality as Minari datasets, and the anchors of scores."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory, write_json
from metadiffuser.behaviour.collection import Collected, Collector
from metadiffuser.behaviour.policies import Trained
from metadiffuser.data.minari_store import Provenance, write_dataset
from metadiffuser.envs import get_family
from metadiffuser.envs.tasks import read_tasks
from metadiffuser.run import Run


def run(run: Run) -> None:
    """Write the datasets of one family and their metrics."""
    family = get_family(run.wildcard("family"))
    section = run.section("dataset")
    tasks = read_tasks(run.path(paths.TASKS))
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
    anchors = {
        task.index: {"random": random.mean_return(task.index), "expert": expert.mean_return(task.index)}
        for task in tasks
    }
    with whole_directory(run.path(paths.DATASET)) as root:
        for quality, result in collected.items():
            for task in tasks:
                anchor = anchors[task.index]
                provenance = Provenance(result.policies[task.index], anchor["random"], anchor["expert"])
                write_dataset(root, family, task, quality, result.episodes[task.index], provenance)
    rewards = [episodes.rewards for result in collected.values() for episodes in result.episodes.values()]
    metrics = {
        "family": family.name,
        "source": "generated",
        "tasks": [task.to_json() for task in tasks],
        "returns": {
            quality: {str(index): episodes.returns.tolist() for index, episodes in result.episodes.items()}
            for quality, result in collected.items()
        },
        "anchors": {str(index): anchor for index, anchor in anchors.items()},
        "optimum": {str(task.index): family.optimum(task) for task in tasks} if family.optimum else {},
        "episodes": sum(len(block) for block in rewards),
        "transitions": sum(block.size for block in rewards),
    }
    write_json(run.path(paths.DATASET_METRICS), metrics)
