"""Where the data of Point-Robot are in a project, and the stages whose place an import takes."""

from __future__ import annotations

from pathlib import Path

from metadiffuser import paths

PRESET = {"preset": "smoke", "family": "point_robot"}
METRICS = Path(paths.DATASET_METRICS.format(**PRESET))
DATASET = Path(paths.DATASET.format(**PRESET))
CARD = Path(paths.DATASET_CARD.format(**PRESET))
IN_PLACE = ("define_tasks", "train_behaviour", "collect_dataset", "describe_dataset")
