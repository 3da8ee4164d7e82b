"""``metadiffuser export``: a family's datasets in a layout that other projects read."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory, write_json
from metadiffuser.config.params import Params
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import dataset_id, read_dataset
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.errors import InputError, say
from metadiffuser.importing.layouts import hdf5, npz
from metadiffuser.importing.tasklist import REQUIRED, TASK_LIST
from metadiffuser.pipeline import dag, dvc_lock, verify


@dataclass(frozen=True)
class Format:
    """A layout with one file for each dataset and a task list.

    Attributes:
        suffix: of the files.
        write: writes the episodes of one dataset to a path.
    """

    suffix: str
    write: Callable[[Path, Episodes], None]


FORMATS = {"npz": Format(".npz", npz.write), "d4rl": Format(".hdf5", hdf5.write)}
MINARI = "minari"  # whose datasets are copied, and describe their tasks themselves


def export_data(params: Params, name: str, quality: str | None, layout: str, target: Path) -> None:
    """Write the datasets of a family to a folder, whole or not at all, and print what was written.

    Args:
        params: the parameters in force, which name the preset.
        name: key of the family.
        quality: only the datasets of this quality; None for all.
        layout: ``minari`` or a key of ``FORMATS``.
        target: a folder that is not there yet, or is empty.

    Raises:
        InputError: the family or its datasets are not there, a dataset is damaged, or the folder holds something.
    """
    family = get_family(name)
    if name not in params.families:
        raise InputError(f"--family {name}: not in params.yaml, which has {', '.join(params.families)}")
    made = params.section("dataset", name).qualities
    if quality is not None and quality not in made:
        raise InputError(f"--quality {quality}: not in dataset.qualities of params.yaml, which has {', '.join(made)}")
    qualities = list(made) if quality is None else [quality]
    source = Path(paths.DATASET.format(preset=params.preset, family=name))
    if not source.is_dir():
        raise InputError(f"{source}: missing; run collect_dataset, or 'dvc pull'")
    job = dag.find_job("collect_dataset", {"family": name}, params)
    if verify.outdated(job, dvc_lock.read().get(job.name)):
        say(f"{source}: made with other parameters, code or inputs than today's; collect_dataset makes it anew")
    tasks = read_tasks(Path(paths.TASKS.format(preset=params.preset, family=name)), source)
    target = _new_folder(target)
    count = 0
    with whole_directory(target) as folder:
        entries = []
        for task in tasks:
            files = {}
            for each in qualities:
                episodes = read_dataset(source, name, task.index, each)  # also where it is copied: it may be damaged
                count += len(episodes)
                if layout == MINARI:
                    dataset = dataset_id(name, task.index, each)
                    shutil.copytree(source / dataset, folder / dataset, copy_function=shutil.copyfile)
                else:
                    files[each] = f"task{task.index:03d}-{each}{FORMATS[layout].suffix}"
                    FORMATS[layout].write(folder / files[each], episodes)
            if files:
                entries.append(_entry(task.to_json(), files))
        if entries:
            write_json(folder / TASK_LIST, {"tasks": entries, "episode_length": family.episode_length})
    print(
        f"{target}: {len(tasks)} tasks of {family.title} with {count} episodes of {', '.join(qualities)} data, as "
        f"{layout}."
    )
    if set(REQUIRED) <= set(qualities):
        print(f"This reads them back:\n  metadiffuser import --family {name} --from {shlex.quote(str(target))}")


def _entry(task: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """Return a task's entry in the task list; with one quality alone, its files have no label."""
    data: Any = dict(files) if len(files) > 1 else next(iter(files.values()))
    return {"data": data, "split": task["split"], "parameters": task["parameters"]}


def _new_folder(target: Path) -> Path:
    """Return the absolute path of a folder that may be written.

    Raises:
        InputError: it holds something, or it cannot be made, or what is in it would count as a job's output.
    """
    given, target = target, target.resolve()
    for outputs in (paths.DATASET, paths.DATASET_METRICS, paths.IMPORTED):
        owned = Path(outputs.split("{")[0]).resolve()
        if target.is_relative_to(owned):
            raise InputError(f"--to {given}: lies in {owned}, whose files are the jobs' own; name a folder elsewhere")
    file = next((above for above in target.parents if above.exists() and not above.is_dir()), None)
    if file is not None:
        raise InputError(f"--to {given}: {file} is a file; expected a new or an empty folder")
    if target.exists() and not target.is_dir():
        raise InputError(f"--to {target}: is a file; expected a new or an empty folder")
    if target.is_dir() and any(target.iterdir()):
        raise InputError(f"--to {target}: is not empty; expected a new or an empty folder")
    if target.is_mount():
        raise InputError(f"--to {target}: a file system is mounted there; name a new folder in it")
    return target
