"""Stage ``describe_dataset``: the card of a family's datasets, for people to read."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.artifacts import read_json, whole_directory
from metadiffuser.pipeline.run import Run
from metadiffuser.reporting.card import write_card


def run(job: Run) -> None:
    """Write the dataset card of one family."""
    metrics = read_json(job.path(paths.DATASET_METRICS))
    with whole_directory(job.path(paths.DATASET_CARD)) as folder:
        write_card(folder, metrics)
