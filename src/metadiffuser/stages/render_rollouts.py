"""Stage ``render_rollouts``: films of recorded rollouts with the plan drawn over them, and a film strip."""

from __future__ import annotations

import sys

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory
from metadiffuser.envs import get_family
from metadiffuser.envs.shared import gl
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.pipeline.run import Run
from metadiffuser.viewing.films import write_films


def run(job: Run) -> None:
    """Write films of each shown task, alone and beside the unguided planner, and ``strip.png`` of the first."""
    family, section = get_family(job.wildcard("family")), job.section("rendering")
    unseen = split(read_tasks(job.path(paths.TASKS)), "test")
    (representation, *_), (seed, *_) = job.value("representations"), job.value("seeds")
    source = job.path(paths.ROLLOUTS, representation=representation, seed=str(seed))
    if family.has_model and gl.backend() is None:
        print(f"render_rollouts: plain side views only: {gl.REMEDY}", file=sys.stderr)
    with whole_directory(job.path(paths.VIDEOS)) as folder:
        write_films(folder, family, unseen, source, section)
