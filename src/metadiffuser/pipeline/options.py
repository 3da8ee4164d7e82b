"""Options of the command line: the numbers that one accepts, and what ``metadiffuser publish`` offers."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from contextlib import suppress

from metadiffuser.errors import one_line

JOBS_DO = {  # what a job of each stage does
    "define_tasks": "draw the tasks and split them",
    "train_behaviour": "train the behaviour policies",
    "collect_dataset": "collect the offline datasets",
    "describe_dataset": "describe the datasets in a card with a histogram",
    "train_context": "train the context encoder, the reward and the dynamics model",
    "train_diffusion": "train the diffusion model",
    "calibrate": "choose the planner's settings on training tasks",
    "evaluate": "evaluate the planner on unseen tasks",
    "train_baseline": "train a baseline",
    "calibrate_baseline": "choose a baseline's settings on training tasks",
    "evaluate_baseline": "evaluate a baseline on unseen tasks",
    "render_rollouts": "render videos and film strips",
    "make_tables": "make all tables of the preset in params.yaml",
    "make_figures": "draw all figures of the preset in params.yaml",
    "make_report": "make the report page of the preset in params.yaml",
}
JOBS_OF = {  # what a job is for
    "family": "environment family",
    "shard": "share of the tasks, one of 'shards' in params.yaml",
    "representation": "task representation, such as generalised",
    "method": "baseline, such as bc",
    "seed": "training seed",
}


def whole_number(text: str) -> int:
    """Return a whole number from 1 on. Raises ``argparse.ArgumentTypeError``, which argparse shows as a usage error."""
    with suppress(ValueError):
        if (value := int(text)) >= 1:
            return value
    raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got '{one_line(text)}'")


def number_from_zero(text: str) -> float:
    """Return a number from 0 on. Raises ``argparse.ArgumentTypeError``."""
    with suppress(ValueError):
        if (value := float(text)) >= 0:
            return value
    raise argparse.ArgumentTypeError(f"expected a number from 0 on, got '{one_line(text)}'")


def positive_number(text: str) -> float:
    """Return a finite number above 0. Raises ``argparse.ArgumentTypeError``."""
    with suppress(ValueError):
        if 0 < (value := float(text)) < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"expected a number above 0, got '{one_line(text)}'")


def offer_publishing(verb: argparse.ArgumentParser, stages: Sequence[str]) -> None:
    """Add the options of ``publish`` to its parser; ``stages`` are those with jobs of one family."""
    verb.add_argument("--preset", help="a name in presets/ (default: the parameters in params.yaml)")
    verb.add_argument("--family", nargs="+", metavar="FAMILY", help="families to publish (default: all of the preset)")
    verb.add_argument(
        "--stage", nargs="+", choices=stages, metavar="STAGE", help="publish the outputs of these stages' jobs instead"
    )
    verb.add_argument(
        "--episodes",
        type=whole_number,
        default=2,
        help="warm-start episodes by task and quality (default: %(default)s)",
    )
