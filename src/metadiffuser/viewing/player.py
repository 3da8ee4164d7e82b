"""The trained planner of a preset, ready to be watched live."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from metadiffuser import paths
from metadiffuser.calibration.choice import read_chosen, with_values
from metadiffuser.config.params import Params
from metadiffuser.config.schema import Evaluation, Planning
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.windows import TaskData
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import Family, Task
from metadiffuser.evaluation.player import LivePlayer
from metadiffuser.planning.planner import Planner


def make_player(params: Params, family: Family, task: Task, guide: str) -> LivePlayer:
    """Return the first representation's and seed's planner, ready to play ``task``.

    Raises:
        InputError: a checkpoint or dataset is missing or damaged; the message names it.
    """
    names = {
        "preset": params.preset,
        "family": family.name,
        "representation": params.representations[0],
        "seed": params.seeds[0],
    }
    context, _ = ContextModel.load(Path(paths.CONTEXT.format(**names)))
    diffusion, _ = DiffusionModel.load(Path(paths.DIFFUSION.format(**names)))
    episodes = read_family(Path(paths.DATASET.format(**names)), [task], ["expert"])
    chosen = read_chosen(Path(paths.CALIBRATION.format(**names)))
    planning = with_values(cast(Planning, params.section("planning", family.name)), chosen)
    torch.set_num_threads(cast(Evaluation, params.section("evaluation", family.name)).threads)
    return LivePlayer(
        family,
        task,
        guide,
        Planner(diffusion, context, planning),
        TaskData.stack(episodes, [task.index]),
        params.seed,
    )
