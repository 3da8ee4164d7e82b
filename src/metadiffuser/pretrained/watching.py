"""``metadiffuser view --pretrained``: published models at work in a window."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from metadiffuser import paths
from metadiffuser.config.schema import Guide
from metadiffuser.envs import Task
from metadiffuser.errors import InputError, nearest
from metadiffuser.evaluation.player import LivePlayer
from metadiffuser.pretrained.bundle import Bundle, read_bundle
from metadiffuser.viewing.live import play, require_display


def make_player(published: Bundle, task: Task, guide: str) -> LivePlayer:
    """Return published models ready to play an unseen task with an expert's episode as warm-start data.

    Raises:
        InputError: an unknown guide.
    """
    if guide not in get_args(Guide):
        raise InputError(f"--method {guide}: unknown guide{nearest(guide, get_args(Guide))}")
    data = published.data("expert", [task])
    return LivePlayer(published.family, task, guide, published.planner(), data, published.settings["root_seed"])


def view_published(family: str, task: int | None, guide: str, folder: Path | str | None = None) -> None:
    """Open a window and play published models in it until it is closed.

    Args:
        family: key of the family.
        task: index of an unseen task; None takes the first.
        guide: guide variant.
        folder: of all published models (see ``bundle.find_folder``).

    Raises:
        InputError: no such models, task or guide, a changed file, or no display.
    """
    published = read_bundle(family, folder)
    chosen = published.task(next(iter(published.tasks)) if task is None else task)
    player = make_player(published, chosen, guide)
    if not published.family.has_model:
        raise InputError(f"--family {family}: has no MuJoCo model to open a window on; use 'evaluate --pretrained'")
    require_display(Path(paths.VIDEOS.format(preset=published.settings["preset"], family=family)))
    play(published.family, chosen, player)
