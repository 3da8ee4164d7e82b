"""The anchors of scores, as a dataset's metadata keep them."""

from __future__ import annotations

from pathlib import Path

from metadiffuser.data.minari_store import read_anchors
from tests.data.test_dataset import FAMILY, TASKS, collect_fakes


def test_metadata_name_the_random_and_the_experts_return_and_not_the_other_way_round(tmp_path: Path) -> None:
    collect_fakes(["random", "expert"]).write(tmp_path, FAMILY)
    found = {task.index: read_anchors(tmp_path, FAMILY.name, task.index) for task in TASKS}
    assert found == {0: (-9.5, -3.5), 1: (-9.5, -9.0), 2: (-9.5, -3.5)}
