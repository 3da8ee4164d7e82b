"""What it takes to load a family's training set at laptop size: seconds and peak memory.

    OMP_NUM_THREADS=1 python benchmarks/loading.py [--family ant_dir] [--tasks 50] [--episodes 50]

Writes datasets of three qualities with random numbers in the family's sizes to a temporary folder, then loads the
training tasks as the stages do (``read_family``, ``TaskData.stack``) in a fresh process, so that the peak is that of
loading alone: with the interpreter and its libraries, and, beside it, without them. The files were just written, so
they come from the page cache; a disk adds its own time. CPU seconds stand beside wall-clock ones, which other work on
the machine lengthens.

Measured on a busy 2-core machine with the defaults: 2.3 to 2.6 s of CPU, 1.01 GB at the peak.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import Provenance, read_family, write_dataset
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import FAMILIES, Family, Task, get_family
from metadiffuser.envs.shared.tasks import draw_tasks

QUALITIES = ("expert", "medium", "random")  # those that contexts are trained on
TEST_SHARE = 0.1  # of the tasks


def peak() -> float:
    """Return the most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts in KiB


def write(root: Path, family: Family, tasks: Sequence[Task], episodes: int) -> None:
    """Write datasets of all qualities of ``tasks``."""
    generator = np.random.default_rng(0)
    steps = family.episode_length
    for task in tasks:
        for quality in QUALITIES:
            shapes = ((episodes, steps + 1, family.observation_size), (episodes, steps, family.action_size))
            arrays = [generator.random(shape, np.float32) for shape in (*shapes, (episodes, steps))]
            write_dataset(root, family, task, quality, Episodes(*arrays), Provenance({}, 0.0, 1.0))


def load(root: Path, tasks: Sequence[Task]) -> None:
    """Load the datasets of ``tasks`` and print what it took."""
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    read = read_family(root, tasks, QUALITIES)
    halfway = time.perf_counter(), time.process_time()
    data = TaskData.stack(read, [task.index for task in tasks])
    end = time.perf_counter(), time.process_time()
    print(f"read_family:     {halfway[0] - wall:6.2f} s, {halfway[1] - cpu:6.2f} s of CPU")
    print(f"TaskData.stack:  {end[0] - halfway[0]:6.2f} s, {end[1] - halfway[1]:6.2f} s of CPU, {data}")
    print(f"together:        {end[0] - wall:6.2f} s, {end[1] - cpu:6.2f} s of CPU")
    size = sum(part.nbytes for part in (data.observations, data.actions, data.rewards, data.transitions)) / 1e9
    print(
        f"peak memory:     {peak():6.2f} GB, {peak() - before:.2f} GB of it by loading; the tensors have {size:.2f} GB"
    )


def main() -> None:
    """Write, load and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, default="ant_dir")
    parser.add_argument("--tasks", type=int, default=50, help="a tenth of them are unseen and not loaded")
    parser.add_argument("--episodes", type=int, default=50, help="per task and quality")
    arguments = parser.parse_args()
    family = get_family(arguments.family)
    unseen = round(TEST_SHARE * arguments.tasks)
    tasks = draw_tasks(family, arguments.tasks - unseen, unseen, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, family, tasks, arguments.episodes)
        training = [task for task in tasks if task.split == "train"]
        process = multiprocessing.get_context("spawn").Process(target=load, args=(root, training))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
