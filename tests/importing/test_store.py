"""The store of imported episodes: a file under the hash of its contents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metadiffuser.errors import InputError
from metadiffuser.importing.store import file_digest, read_imported
from tests.helpers.foreign import edit_list, entry, imported, write_foreign


class TestStore:
    def test_round_trip_under_the_hash_of_the_contents(self, folder: Path, tmp_path: Path) -> None:
        found = imported(folder)
        digest = found.write(tmp_path / "store")
        (path,) = (tmp_path / "store").iterdir()
        assert path.name == f"{digest}.safetensors"
        assert file_digest(path) == digest
        read = read_imported(path)
        assert (read.family, read.tasks, read.notes) == (found.family, found.tasks, found.notes)
        for quality, by_task in found.episodes.items():
            for index, episodes in by_task.items():
                np.testing.assert_array_equal(read.episodes[quality][index].rewards, episodes.rewards)
        assert imported(folder).write(tmp_path / "again") == digest

    def test_the_hash_tells_other_data_and_another_split(self, folder: Path, tmp_path: Path) -> None:
        first = imported(folder).write(tmp_path / "store")
        edit_list(folder, entry(split="test"))
        second = imported(folder).write(tmp_path / "store")
        write_foreign(folder, seed=1)
        assert len({first, second, imported(folder).write(tmp_path / "store")}) == 3

    def test_other_contents_under_the_name_are_refused(self, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / f"{imported(folder).write(tmp_path)}.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match="its contents are not those that were imported; run 'metadiffuser"):
            read_imported(path)
        path.unlink()
        with pytest.raises(InputError, match="missing; run 'metadiffuser import'"):
            read_imported(path)
