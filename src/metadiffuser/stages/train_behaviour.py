"""Stage ``train_behaviour``: soft actor-critic policies for the tasks of one shard.

Unseen tasks need behaviour policies too: their episodes are the warm-start contexts and the anchors of scores. They
are learnt by an agent of their own.

Where the family's data are imported there is nothing to train: the job leaves an empty shard.
"""

from __future__ import annotations

import logging

from metadiffuser import paths
from metadiffuser.behaviour.training import train_shard
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.importing.store import imported_digest
from metadiffuser.pipeline.run import Run
from metadiffuser.tracking import write_curve

log = logging.getLogger(__name__)


def run(job: Run) -> None:
    """Write the policies and the learning curve of one shard."""
    family = get_family(job.wildcard("family"))
    shard = int(job.wildcard("shard"))
    task_list = job.path(paths.TASKS)
    imported = imported_digest(task_list) is not None
    if imported:
        log.warning("%s: its data are imported, so there is no behaviour to train", family.name)
    tasks = [] if imported else read_tasks(task_list)[shard :: len(job.value("shards"))]
    names = ("train_behaviour", family.name, str(shard))
    section = job.section("behaviour")
    trained, records = train_shard(family, tasks, section, job.root_seed, names, job.device, job.work)
    trained.write(job.path(paths.BEHAVIOUR))
    write_curve(job.path(paths.BEHAVIOUR_CURVE), records)
