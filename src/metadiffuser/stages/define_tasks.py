"""Stage ``define_tasks``: draw a family's tasks and split them into training and unseen ones.

Where the family's data are imported, the task list and its split come with them, and nothing is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.importing.store import read_imported
from metadiffuser.pipeline.run import Run
from metadiffuser.seeding import numpy_generator


def run(job: Run) -> None:
    """Write the task list of one family."""
    family = get_family(job.wildcard("family"))
    section = job.section("tasks")
    record: dict[str, Any] = {"family": family.name}
    if section.imported is None:
        generator = numpy_generator(job.root_seed, "define_tasks", family.name)
        tasks = draw_tasks(family, section.train, section.test, generator, section.unseen)
    else:
        tasks = read_imported(Path(paths.IMPORTED.format(family=family.name, digest=section.imported))).tasks
        record["imported"] = section.imported
    write_json(job.path(paths.TASKS), {**record, "tasks": [task.to_json() for task in tasks]})
