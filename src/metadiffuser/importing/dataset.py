"""Imported episodes as the datasets of a family."""

from __future__ import annotations

from collections.abc import Sequence

from metadiffuser.data.dataset import Collected, FamilyDataset, anchors_of
from metadiffuser.data.episodes import Episodes
from metadiffuser.importing.store import Imported

COMPARED = ("reward_difference", "state_difference", "steps", "not_restored")  # with the family's own simulator
PREPARED = ("action_scale", "unfinished", "computed")  # what was done to the stored steps


def imported_dataset(imported: Imported, digest: str, qualities: Sequence[str]) -> FamilyDataset:
    """Return the datasets of imported episodes; without any labelled mixed, all of a task's are its mixed ones.

    Args:
        imported: checked data.
        digest: hash of their contents.
        qualities: of the datasets wanted.
    """
    by_quality = dict(imported.episodes)
    mixed = {
        task.index: Episodes.join([by_task[task.index] for by_task in by_quality.values()]) for task in imported.tasks
    }
    by_quality.setdefault("mixed", mixed)
    files = imported.notes["files"]
    found = {
        quality: Collected(
            episodes,
            {index: {"algorithm": "imported", "role": quality, "files": files[str(index)]} for index in episodes},
        )
        for quality, episodes in by_quality.items()
    }
    notes = {name: imported.notes[name] for name in ("labels", "left_out", *COMPARED)}
    notes |= {name: imported.notes[name] for name in PREPARED if name in imported.notes}
    origin = {"source": "imported", "imported": digest, "joined": "mixed" not in imported.episodes, **notes}
    anchors = anchors_of(imported.tasks, found["random"], found["expert"])
    return FamilyDataset({quality: found[quality] for quality in qualities}, imported.tasks, anchors, origin)
