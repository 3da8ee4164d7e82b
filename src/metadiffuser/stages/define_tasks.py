"""Stage ``define_tasks``: draw a family's tasks and split them into training and unseen ones."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.envs import get_family
from metadiffuser.envs.tasks import draw_tasks
from metadiffuser.run import Run
from metadiffuser.seeding import numpy_generator


def run(run: Run) -> None:
    """Write the task list of one family."""
    family = get_family(run.wildcard("family"))
    section = run.section("tasks")
    generator = numpy_generator(run.root_seed, "define_tasks", family.name)
    tasks = draw_tasks(family, section.train, section.test, generator)
    write_json(run.path(paths.TASKS), {"family": family.name, "tasks": [task.to_json() for task in tasks]})
