"""``metadiffuser evaluate --pretrained``: published models play unseen tasks, beside the committed scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metadiffuser.calibration.judge import spread
from metadiffuser.envs import Task
from metadiffuser.evaluation.blocks import play_cells
from metadiffuser.evaluation.cells import Cell
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.pretrained.bundle import Bundle, find_folder, read_bundle
from metadiffuser.pretrained.card import label
from metadiffuser.pretrained.places import families

TASKS = 5  # unseen tasks of each family that are played unless another number is given
PLAYED = {"expert": "few-shot", "zero_shot": "zero-shot"}  # contexts and their names


def play_published(family: str | None, count: int = TASKS, folder: Path | str | None = None) -> None:
    """Play an episode of some unseen tasks with warm-start data and one without; print returns beside those committed.

    Args:
        family: key of the family; None plays all that are published.
        count: unseen tasks of each family, evenly spread over the list.
        folder: of all published models (see ``find_folder``).

    Raises:
        InputError: there are no such models, or a file is not as it was published.
    """
    root = find_folder(folder)
    for name in families(root) if family is None else [family]:
        published = read_bundle(name, root)
        tasks = spread(list(published.tasks.values()), count)
        print(f"\n{_heading(published, tasks)}")
        for line in table(tasks, play(published, tasks), published.scores["cells"], published.settings["guide"]):
            print(line, flush=True)


def play(published: Bundle, tasks: Sequence[Task]) -> dict[str, dict[str, float]]:
    """Return {context: {task index: return}} of one episode each, played as the evaluation plays."""
    settings, planner = published.settings, published.planner()
    data = {quality: published.data(quality, tasks) for quality in published.episodes}
    stream = ("pretrained", published.family.name, "evaluate")
    setup = EpisodeSetup(published.family, tasks, 1, data, 1, settings["root_seed"], stream, (*stream, "start"))
    cells = [Cell("metadiffuser", settings["guide"], context) for context in PLAYED]
    outcome = play_cells(planner, cells, setup, published.family.name)
    by_cell = outcome.returns.reshape(len(cells), len(tasks))
    return {
        context: {str(task.index): float(value) for task, value in zip(tasks, row, strict=True)}
        for context, row in zip(PLAYED, by_cell, strict=True)
    }


def table(
    tasks: Sequence[Task], own: Mapping[str, Mapping[str, float]], cells: Sequence[Mapping[str, Any]], guide: str
) -> list[str]:
    """Return the lines of a table: of each task its return, and mean, lowest and highest of the committed episodes."""
    committed = {
        cell["context"]: cell["returns"] for cell in cells if (cell["method"], cell["guide"]) == ("metadiffuser", guide)
    }
    rows = [["task"], *([label(task)] for task in tasks), ["mean"]]
    for context, name in PLAYED.items():
        rows[0] += [name, "committed [lowest, highest]"]
        for row, task in zip(rows[1:], tasks, strict=False):
            row += [f"{own[context][str(task.index)]:.1f}", _range(committed.get(context, {}).get(str(task.index)))]
        theirs = [np.mean(values) for index, values in committed.get(context, {}).items() if index in own[context]]
        rows[-1] += [f"{np.mean(list(own[context].values())):.1f}", f"{np.mean(theirs):.1f}" if theirs else "-"]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _range(returns: Sequence[float] | None) -> str:
    return "-" if not returns else f"{np.mean(returns):.1f} [{min(returns):.1f}, {max(returns):.1f}]"


def _heading(published: Bundle, tasks: Sequence[Task]) -> str:
    settings = published.settings
    place = f"{published.family.title}: {published.folder}, of the preset {settings['preset']}"
    return f"{place}; one episode on {len(tasks)} of {len(published.tasks)} unseen tasks"
