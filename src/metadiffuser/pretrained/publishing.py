"""Collecting the published models of families from what the jobs of a preset wrote."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metadiffuser import paths
from metadiffuser.artifacts import read_json, whole_directory, write_json, write_text
from metadiffuser.calibration.choice import read_beyond, read_chosen, with_values
from metadiffuser.config.params import Params
from metadiffuser.data.minari_store import read_family
from metadiffuser.envs import Family, get_family
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.errors import InputError
from metadiffuser.pretrained import bundle, places
from metadiffuser.pretrained.card import card
from metadiffuser.pretrained.hashes import write_hashes
from metadiffuser.pretrained.sizes import check_size

MODELS = {paths.CONTEXT: bundle.CONTEXT, paths.DIFFUSION: bundle.DENOISER}
READ = (*MODELS, paths.TASKS, paths.DATASET, paths.CALIBRATION, paths.PLANNER_METRICS, paths.DATASET_METRICS)


def sources(params: Params, family: str) -> dict[str, Path]:
    """Return {template: path} of what is read for a family: the first representation's and training seed's."""
    names = {"representation": params.representations[0], "seed": params.seeds[0]}
    return {template: Path(template.format(preset=params.preset, family=family, **names)) for template in READ}


def publish_families(params: Params, families: Sequence[str], episodes: int, commit: str, target: Path) -> None:
    """Write the published models of families, whole or not at all; what else lies in the folder stays.

    Args:
        params: of the preset that has run.
        families: their keys.
        episodes: warm-start episodes of each unseen task and quality.
        commit: of the sources, for the cards.
        target: folder of all published models.

    Raises:
        InputError: something is missing or damaged, files do not belong together, or all of it is too large.
    """
    with whole_directory(target) as folder:
        for path in target.iterdir() if target.is_dir() else []:
            if path.is_dir() and path.name not in families:
                shutil.copytree(path, folder / path.name, copy_function=shutil.copyfile)
            elif path.is_file():
                shutil.copyfile(path, folder / path.name)
        for name in families:
            _write(params, get_family(name), episodes, commit, folder / name)
        check_size(folder, {})


def _write(params: Params, family: Family, episodes: int, commit: str, folder: Path) -> None:
    """Write the folder of one family."""
    folder.mkdir()
    found = sources(params, family.name)
    metrics, dataset = read_json(found[paths.PLANNER_METRICS]), read_json(found[paths.DATASET_METRICS])
    tasks = read_tasks(found[paths.TASKS], found[paths.DATASET])
    unseen = split(tasks, "test")
    for template, name in MODELS.items():
        if not found[template].is_file():
            raise InputError(f"{found[template]}: missing; run the pipeline on {params.preset}, or 'dvc pull'")
        shutil.copyfile(found[template], folder / name)
    stored = read_family(found[paths.DATASET], unseen, bundle.QUALITIES)
    warm = {
        quality: {index: each.select(np.arange(min(episodes, len(each)))) for index, each in by_task.items()}
        for quality, by_task in stored.items()
    }
    bundle.write_episodes(folder / bundle.WARM_START, family, unseen, warm)
    write_json(folder / places.TASKS, {"family": family.name, "tasks": [task.to_json() for task in tasks]})
    settings = _settings(params, family, found[paths.CALIBRATION], metrics) | {"commit": commit}
    write_json(folder / bundle.SETTINGS, settings)
    scores = _scores(settings["guide"], metrics, dataset, [str(task.index) for task in unseen])
    write_json(folder / bundle.SCORES, scores)
    text = card(family, settings, scores, metrics, dataset, unseen, bundle.header(folder), episodes)
    write_text(folder / bundle.CARD, text)
    write_hashes(folder)


def _settings(params: Params, family: Family, calibration: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``settings.json``: where the models come from, and the planner's whole section, chosen values merged in.

    Raises:
        InputError: the scores are of other settings than those that the calibration chose.
    """
    chosen, beyond = read_chosen(calibration), read_beyond(calibration)
    if metrics.get("settings") != chosen:
        raise InputError(f"{calibration}: its choice is not what was evaluated; run evaluate again")
    planning = params.section("planning", family.name)
    return {
        "family": family.name,
        "preset": params.preset,
        "root_seed": params.seed,
        "representation": params.representations[0],
        "seed": params.seeds[0],
        "guide": params.section("evaluation", family.name).guides[0],
        "planning": with_values(planning, chosen).model_dump(),
        "with_value": None if beyond is None else with_values(planning, beyond).model_dump(),
    }


def _scores(
    guide: str, metrics: Mapping[str, Any], dataset: Mapping[str, Any], unseen: Sequence[str]
) -> dict[str, Any]:
    """Return ``scores.json``: returns of the planner's cells on unseen tasks, and the anchors of these tasks."""
    cells = [
        {key: cell[key] for key in ("method", "guide", "context", "returns")}
        for cell in metrics["cells"]
        if cell["method"] in ("metadiffuser", "with_value") and cell["guide"] == guide
    ]
    return {"cells": cells, "anchors": {index: dataset["anchors"][index] for index in unseen}}
