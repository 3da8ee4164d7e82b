"""Published behaviour policies: what the longest jobs of the pipeline wrote, for the same jobs in another clone.

A folder for each shard of a family, ``pretrained/behaviour/<family>/shard<k>/``:

========================  ============================================================================
``policies.safetensors``  the policies kept along training
``curve/``                the learning curve
``timing.json``           the time that it took
``made_from.json``        the job's fingerprint: parameters, code and inputs that decide its outputs
``hashes.json``           SHA-256 of all these files
========================  ============================================================================
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metadiffuser.artifacts import read_json, whole_directory, write_json
from metadiffuser.errors import InputError
from metadiffuser.pretrained.bundle import PRETRAINED, remedy
from metadiffuser.pretrained.hashes import differences, write_hashes
from metadiffuser.pretrained.sizes import BEHAVIOUR, size

FOLDER = PRETRAINED / BEHAVIOUR
OUTPUTS = ("policies.safetensors", "curve", "timing.json")  # in the order of the job's own
MADE_FROM = "made_from.json"


@dataclass(frozen=True)
class Made:
    """A job of ``train_behaviour`` that has run.

    Attributes:
        made_from: its fingerprint.
        outputs: paths of policies, curve and timing record.
    """

    made_from: str
    outputs: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of the outputs."""
        return sum(map(size, self.outputs))


def publish_policies(family: str, shards: Mapping[str, Made]) -> Path:
    """Write the published policies of a family, whole or not at all.

    Args:
        family: its key.
        shards: {shard: its job}.

    Returns:
        The family's folder.
    """
    target = FOLDER / family
    with whole_directory(target) as folder:
        for shard, job in shards.items():
            place = folder / f"shard{shard}"
            place.mkdir()
            for name, source in zip(OUTPUTS, job.outputs, strict=True):
                if source.is_dir():
                    shutil.copytree(source, place / name, copy_function=shutil.copyfile)
                else:
                    shutil.copyfile(source, place / name)
            write_json(place / MADE_FROM, job.made_from)
            write_hashes(place)
    return target


def published_policies() -> list[Path]:
    """Return the folders of all published shards."""
    return sorted(FOLDER.glob("*/*/"))


def find_policies(family: str, shard: str, made_from: str) -> Path | None:
    """Return the folder of a shard's published policies, None if there are none with this fingerprint.

    Raises:
        InputError: there are, and a file is not as it was published; the message names it and the remedy.
    """
    folder = FOLDER / family / f"shard{shard}"
    if not (folder / MADE_FROM).is_file() or read_json(folder / MADE_FROM) != made_from:
        return None
    for path, what in differences(folder).items():
        raise InputError(f"{path}: {what}; {remedy(path)}")
    return folder
