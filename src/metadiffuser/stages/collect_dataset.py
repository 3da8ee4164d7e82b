"""Stage ``collect_dataset``: episodes of every task and quality as Minari datasets, and the anchors of scores.

The episodes are those of the behaviour policies or, where the family's data are imported, the imported ones.
"""

from __future__ import annotations

from pathlib import Path

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory, write_json
from metadiffuser.behaviour.collection import Collector, collect
from metadiffuser.behaviour.policies import Trained
from metadiffuser.data.labels import labels
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.importing.dataset import imported_dataset
from metadiffuser.importing.store import imported_digest, read_imported
from metadiffuser.pipeline.run import Run


def run(job: Run) -> None:
    """Write the datasets of one family and their metrics."""
    family, section = get_family(job.wildcard("family")), job.section("dataset")
    tasks = read_tasks(job.path(paths.TASKS))
    digest = imported_digest(job.path(paths.TASKS))
    if digest is None:
        shards = [Trained.read(path, job.device) for path in job.all_paths(paths.BEHAVIOUR)]
        counts = (section.episodes, section.anchor_episodes)
        collector = Collector(family, tasks, shards, *counts, job.root_seed, section.threads)
        dataset = collect(collector, section.qualities, section.least_gain)
    else:
        imported = read_imported(Path(paths.IMPORTED.format(family=family.name, digest=digest)))
        dataset = imported_dataset(imported, digest, section.qualities)
    with whole_directory(job.path(paths.DATASET)) as root:
        dataset.write(root, family)
    size = sum(path.stat().st_size for path in job.path(paths.DATASET).rglob("*") if path.is_file())
    names = labels("family", family.name, family)
    write_json(job.path(paths.DATASET_METRICS), {**names, **dataset.metrics(family), "bytes": size})
