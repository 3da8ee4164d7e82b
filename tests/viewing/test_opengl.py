"""Which OpenGL library draws, what is said where there is none, and the scenery that it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metadiffuser.envs import FAMILIES, Task
from metadiffuser.envs.shared import gl
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.errors import InputError


@pytest.mark.skipif(len(gl.BACKENDS) < 3, reason="this system has one backend")
@pytest.mark.parametrize(
    ("wanted", "working", "chosen"),
    [
        ("", {"egl", "osmesa", "glfw"}, "egl"),
        ("", {"osmesa", "glfw"}, "osmesa"),
        ("", {"glfw"}, "glfw"),
        ("", set(), None),
        ("OSMesa", {"egl", "osmesa", "glfw"}, "osmesa"),
        ("osmesa", {"egl", "glfw"}, "egl"),
        ("off", {"egl", "osmesa", "glfw"}, None),
    ],
)
def test_the_first_backend_that_works_is_chosen(wanted: str, working: set[str], chosen: str | None) -> None:
    assert gl.choose(wanted, working.__contains__) == chosen


def test_probing_a_backend_that_cannot_work_leaves_this_process_alive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not gl.probe("glfw")
    assert list(tmp_path.iterdir()) == []


def test_without_a_library_the_message_names_the_package(no_opengl: None) -> None:
    model = FAMILIES["point_robot"].model(Task(0, "test", {"goal": (0.5, 0.5)}))
    with pytest.raises(InputError, match="apt install libegl1"):
        gl.renderer(model, 16, 16)


@pytest.mark.parametrize("name", FAMILIES)
def test_scenery_leaves_the_original_and_the_physics_alone(name: str) -> None:
    task = draw_tasks(FAMILIES[name], 1, 1, np.random.default_rng(0))[0]
    model = FAMILIES[name].model(task)
    before = {field: np.copy(getattr(model, field)) for field in ("geom_rgba", "geom_size", "tex_data", "body_mass")}
    scenery = gl.scenery(model)
    for field, value in before.items():
        assert np.array_equal(getattr(model, field), value)
    for field in ("body_mass", "body_inertia", "geom_friction", "jnt_range", "dof_damping", "actuator_gear"):
        assert np.array_equal(getattr(model, field), getattr(scenery, field))
