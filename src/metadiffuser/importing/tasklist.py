"""Which files hold which task: a JSON list beside the data, or the metadata that this project's datasets carry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metadiffuser.data.minari_store import NAMESPACE
from metadiffuser.envs import Family, Task
from metadiffuser.envs.shared.tasks import parameter_sizes
from metadiffuser.errors import InputError, nearest, shortened
from metadiffuser.importing.layouts.minari import DATA_FILE, METADATA_FILE, read_metadata

TASK_LIST = "tasks.json"
LABELS = ("expert", "medium", "random", "mixed")
REQUIRED = LABELS[:3]  # what the stages after collect_dataset read
ALL = ""  # key of files without a label
KEYS = ("data", "task", "split", "parameters")
LARGEST = float(np.finfo(np.float32).max)  # of a parameter, which models take in float32
MOST_NAMED = 3  # datasets of others in a sentence


@dataclass(frozen=True)
class Source:
    """A task and its files.

    Attributes:
        task: the task.
        files: {quality: file}, or {ALL: file} without labels.
        number: of the task in files that hold a mixture of tasks, else None.
    """

    task: Task
    files: Mapping[str, Path]
    number: int | None = None


def read_task_list(root: Path, path: Path | None, family: Family) -> list[Source]:
    """Read the list at ``path`` (by default ``tasks.json`` in ``root``), or the metadata of the datasets in ``root``.

    Raises:
        InputError: no list, or a mistake in it; the message names the file and the entry.
    """
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder of data with a task list; docs/data.md shows the layouts")
    path = path or root / TASK_LIST
    if path.is_dir():
        raise InputError(f"{path}: a folder; expected the file of a task list, which docs/data.md shows")
    if not path.is_file():
        if any(root.glob(f"**/{METADATA_FILE}")):
            return _checked(path, _from_metadata(root, family))
        raise InputError(f"{path}: missing; docs/data.md shows a task list")
    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without a byte order mark
        record = json.loads(text, object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except _RepeatedError as error:
        raise InputError(f"{path}: key '{shortened(str(error))}' stands twice in a mapping; remove one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({str(error).splitlines()[0]})") from None
    if not isinstance(record, dict) or not isinstance(record.get("tasks"), list):
        raise InputError(f"{path}: expected a mapping with a list 'tasks'; docs/data.md shows one")
    for key in record:
        if key not in ("tasks", "episode_length"):
            raise InputError(f"{path}: unknown key '{key}'{nearest(key, ('tasks', 'episode_length'))}")
    length = record.get("episode_length")
    if length is not None and (isinstance(length, bool) or length != family.episode_length):
        raise InputError(
            f"{path}: episode_length is {shortened(repr(length))}; expected {family.episode_length}, as episodes of "
            f"{family.title} last"
        )
    sources = [
        _source(root, f"{path}: tasks[{index}]", index, entry, family) for index, entry in enumerate(record["tasks"])
    ]
    return _checked(path, sources)


class _RepeatedError(ValueError):
    """A key stands twice in a mapping of JSON, whose reader would take the last."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RepeatedError(key)
        found[key] = value
    return found


def _checked(path: Path, sources: list[Source]) -> list[Source]:
    for split in ("train", "test"):
        if not any(source.task.split == split for source in sources):
            raise InputError(f"{path}: no task has the split '{split}'; expected at least one of each, train and test")
    labels = sources[0].files.keys()
    for source in sources:
        if source.files.keys() != labels:
            raise InputError(
                f"{path}: task {source.task.index} has data of {_shown(source.files)}, task {sources[0].task.index} of "
                f"{_shown(sources[0].files)}; expected the same of every task"
            )
    trained = {
        (file.resolve(), source.number): source.task.index
        for source in sources
        if source.task.split == "train"
        for file in source.files.values()
    }
    for source in sources:
        for file in source.files.values():
            other = trained.get((file.resolve(), source.number))
            if source.task.split == "test" and other is not None:
                raise InputError(
                    f"{path}: the unseen task {source.task.index} and the training task {other} both have the data "
                    f"{file}; expected an unseen task to have data of its own (if the file holds several tasks, give "
                    "each entry the number of its own in it as 'task')"
                )
    return sources


def _shown(files: Mapping[str, Path]) -> str:
    return " and ".join(files) if ALL not in files else "no quality label"


def _source(root: Path, where: str, index: int, entry: Any, family: Family) -> Source:
    """Check one entry: ``data`` (a path or {quality: path}), ``task``, ``split`` and the task's parameters."""
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {entry!r}; expected a mapping with 'data', 'split' and the task's parameters")
    sizes = parameter_sizes(family)
    for key in entry:
        if key not in (*KEYS, *sizes):
            raise InputError(f"{where}: unknown key '{key}'{nearest(key, (*KEYS, *sizes))}")
    split = entry.get("split")
    if split not in ("train", "test"):
        raise InputError(f"{where}.split is {split!r}; expected 'train' or 'test'")
    beside = {name: entry[name] for name in sizes if name in entry}
    if "parameters" in entry and beside:
        raise InputError(f"{where}: has {', '.join(beside)} and 'parameters'; expected one of the two")
    given = entry.get("parameters", beside)
    if not isinstance(given, dict) or given.keys() != sizes.keys():
        raise InputError(f"{where}: expected the parameters {', '.join(sizes)} of {family.title}, got {given!r}")
    parameters = {name: _vector(f"{where}.{name}", given[name], size) for name, size in sizes.items()}
    number = entry.get("task")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise InputError(
            f"{where}.task is {shortened(repr(number))}; expected the whole number that a file with several tasks has "
            "for this one"
        )
    return Source(Task(index, split, parameters), _files(root, f"{where}.data", entry.get("data")), number)


def _vector(where: str, value: Any, size: int) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    numeric = all(isinstance(item, int | float) and not isinstance(item, bool) for item in values)
    if len(values) != size or not numeric or not all(abs(item) <= LARGEST for item in values):
        raise InputError(f"{where} is {repr(value)[:60]}; expected {size} finite number{'s' if size > 1 else ''}")
    return tuple(float(item) for item in values)


def _files(root: Path, where: str, value: Any) -> dict[str, Path]:
    if isinstance(value, str):
        return {ALL: _inside(root, where, value)}
    if not isinstance(value, dict):
        raise InputError(f"{where} is {value!r}; expected a path, or a path for each of {', '.join(REQUIRED)}")
    for label in value:
        if label not in LABELS:
            raise InputError(f"{where}: unknown quality '{label}'{nearest(label, LABELS)}")
    for label in REQUIRED:
        if label not in value:
            raise InputError(f"{where}: no data of quality '{label}'; give all of {', '.join(REQUIRED)}, or one path")
    return {label: _inside(root, f"{where}.{label}", value[label]) for label in LABELS if label in value}


def _inside(root: Path, where: str, name: Any) -> Path:
    """Return a path below ``root``, links resolved."""
    if not isinstance(name, str) or not name:
        raise InputError(f"{where} is {name!r}; expected a path below {root}")
    try:
        (root / name).exists()  # refuses a name that is too long, which resolving it does not
        paths = (root / name, root / name / DATA_FILE)
        inside = all(path.resolve().is_relative_to(root.resolve()) for path in paths)
    except (OSError, ValueError, RuntimeError) as error:  # too long, no name of a file, a link to itself
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{where} is {shortened(repr(name))} ({reason}); expected a path below {root}") from None
    if not inside:
        raise InputError(f"{where} is '{name}', which lies outside {root}; expected a path below it")
    return root / name


def _from_metadata(root: Path, family: Family) -> list[Source]:
    """Return the sources that the metadata of this project's own datasets of the family describe.

    Datasets of other families and of other projects are passed over: they share the folder in which Minari keeps all.
    """
    own = f"{NAMESPACE}/{family.name}/"
    tasks: dict[int, dict[str, Any]] = {}
    files: dict[int, dict[str, str]] = {}
    others: list[str] = []
    for metadata in sorted(root.glob(f"**/{METADATA_FILE}")):
        folder = metadata.parents[1]
        record = read_metadata(folder)
        name, task, quality = (record.get(key) for key in ("dataset_id", "task", "quality"))
        if isinstance(name, str) and not name.startswith(own):
            others.append(shortened(name))
            continue
        if not isinstance(task, dict) or not isinstance(task.get("index"), int) or not isinstance(quality, str):
            raise InputError(f"{metadata}: says neither task nor quality; describe the tasks in {root / TASK_LIST}")
        index, found = task["index"], files.setdefault(task["index"], {})
        if quality in found:
            both = f"{root / found[quality]} and {folder}: both hold the {quality} data of task {index}"
            raise InputError(f"{both}; import a folder that holds one of them alone")
        if tasks.setdefault(index, task) != task:
            both = f"{root / next(iter(found.values()))} and {folder}: both are of task {index}, and it is not the same"
            raise InputError(f"{both}; import a folder that holds one of them alone")
        found[quality] = str(folder.relative_to(root))
    if not tasks:
        named = ", ".join(others[:MOST_NAMED]) + (", ..." if len(others) > MOST_NAMED else "")
        raise InputError(
            f"{root}: no dataset of {own.rstrip('/')} among those in it ({named}); describe the tasks of other data in "
            f"{root / TASK_LIST}"
        )
    sources = []
    for index, number in enumerate(sorted(tasks)):
        entry = {"data": files[number], "split": tasks[number].get("split")}
        entry["parameters"] = tasks[number].get("parameters")
        sources.append(_source(root, f"{root}: task {number}", index, entry, family))
    return sources
