"""Learning curves on disk, and the streams of random numbers."""

from __future__ import annotations

from pathlib import Path

from metadiffuser.seeding import derive, numpy_generator, torch_generator
from metadiffuser.tracking import read_curve, write_curve


def test_a_curve_is_read_back_at_the_steps_it_was_recorded_at(tmp_path: Path) -> None:
    write_curve(tmp_path / "curve", [{"step": 10, "loss": 0.5, "return": 1.0}, {"step": 40, "loss": 0.25, "return": 2}])
    found = read_curve(tmp_path / "curve")
    assert found.index.tolist() == [10, 40]
    assert found["loss"].tolist() == [0.5, 0.25]
    assert found["return"].tolist() == [1.0, 2.0]


def test_every_part_of_a_streams_name_and_the_root_seed_change_its_numbers() -> None:
    streams = [(0, ("a", "b")), (1, ("a", "b")), (0, ("a",)), (0, ("b", "a")), (0, ("a", "c"))]
    assert len({derive(root, *names) for root, names in streams}) == len(streams)
    assert len({float(numpy_generator(root, *names).random()) for root, names in streams}) == len(streams)
    assert len({torch_generator(root, *names).initial_seed() for root, names in streams}) == len(streams)
