"""Write the tables of docs/hyperparameters.md, between its markers, from the presets; ``--check`` only compares."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from blocks import table, update

from metadiffuser.config.params import Params
from metadiffuser.envs import FAMILIES
from metadiffuser.pipeline import presets

PAGE = Path(__file__).resolve().with_name("hyperparameters.md")
SHOWN = ("quick", "laptop", "literature", "paper")
OTHERS = ("Diffuser", "Decision Diffuser", "CleanDiffuser")
LINEAGE = {  # key: the value of each of ``OTHERS``, where it is known
    "diffusion.horizon": ("32", "100", "32"),
    "diffusion.denoising_steps": ("20", "200", "20"),
    "diffusion.prediction_type": ("x0", "epsilon", "both"),
    "diffusion.width": ("32", "128", "32"),
    "diffusion.multipliers": ("1, 2, 4, 8", "1, 4, 8", ""),
    "diffusion.steps": ("1000000", "1000000", "1000000"),
    "diffusion.batch_size": ("32", "32", "64"),
    "diffusion.learning_rate": ("0.0002", "0.0002", ""),
    "diffusion.ema_decay": ("0.995", "0.995", "0.9999"),
    "diffusion.condition_dropout": ("", "0.25", "0.25"),
    "diffusion.first_action_weight": ("10", "10", "10"),
    "planning.sampler": ("ddpm", "ddpm", "ddpm, ddim"),
    "planning.guidance_weight": ("", "1.2", "1.2 to 6"),
    "planning.return_scale": ("0.1, cheetah 0.001", "no guide", "0.00001 to 0.3"),
    "planning.temperature": ("1.0", "0.5", "0.5"),
    "planning.unguided_steps": ("2 to 4", "no guide", ""),
}
TABLES = {  # section: its keys
    "diffusion": (
        *("horizon", "denoising_steps", "prediction_type", "width", "multipliers", "steps", "batch_size"),
        *("learning_rate", "ema_decay", "condition_dropout", "first_action_weight", "latent_noise"),
    ),
    "planning": (
        *("sampler", "sampling_steps", "guidance_weight", "return_scale", "dynamics_scale", "value_scale"),
        *("temperature", "unguided_steps", "candidates", "zero_shot"),
    ),
    "context": (
        *("latent_size", "context_length", "encoder_width", "hidden", "steps", "task_batch", "target_batch"),
        *("learning_rate", "qualities"),
    ),
    "behaviour": (
        *("sharing", "teachers", "teachers_learn", "steps", "updates_per_step", "batch_size", "hidden"),
        *("learning_rate", "discount"),
    ),
    "dataset": ("episodes", "anchor_episodes", "least_gain"),
    "calibration": ("tasks", "episodes", "contexts", "settings"),
    "evaluation": ("episodes",),
}


def value(params: Params, section: str, key: str) -> str:
    """Return a parameter's value: that of most families, and in brackets what others have."""
    shown = {family: words(getattr(params.section(section, family), key)) for family in params.families}
    (usual, _), *_ = Counter(shown.values()).most_common(1)
    others: dict[str, list[str]] = {}
    for family, own in shown.items():
        if own != usual:
            others.setdefault(own, []).append(FAMILIES[family].title)
    exceptions = "; ".join(f"{', '.join(families)}: {own}" for own, families in others.items())
    return f"{usual} ({exceptions})" if exceptions else usual


def words(content: Any) -> str:
    """Return a value as words."""
    return ", ".join(map(str, content)) if isinstance(content, (list, tuple)) else str(content)


def values(section: str, found: dict[str, Params]) -> str:
    """Return the table of a section in Markdown."""
    others = OTHERS if any(f"{section}.{key}" in LINEAGE for key in TABLES[section]) else ()
    rows = []
    for key in TABLES[section]:
        row = [f"`{key}`", *(value(found[preset], section, key) for preset in SHOWN)]
        row += LINEAGE.get(f"{section}.{key}", ("",) * len(OTHERS)) if others else ()
        rows.append([cell or "–" for cell in row])
    return table(["key", *SHOWN, *others], rows)


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` return 1 if it lags behind the presets."""
    found = {name: presets.read(name) for name in SHOWN}
    blocks = {section: values(section, found) for section in TABLES}
    return update({PAGE: blocks}, arguments, "the presets", "make readme")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
