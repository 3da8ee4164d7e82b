"""The params.yaml that ``metadiffuser use`` writes: whole, commented, and read alike by all."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from ruamel.yaml import YAML

from metadiffuser.config.loading import LARGEST, load, parse
from metadiffuser.config.params import Params
from metadiffuser.config.writing import to_yaml
from tests.conftest import ROOT, whole

PRESETS = sorted((ROOT / "presets").glob("*.yaml"))
each_preset = pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)


@each_preset
def test_what_is_written_is_read_as_the_same_by_every_reader(path: Path) -> None:
    params = load(path)
    text = to_yaml(params)
    assert parse(text) == params
    assert yaml.safe_load(text) == YAML(typ="safe").load(text) == params.model_dump()
    assert to_yaml(parse(text)) == text
    assert "{}" not in text
    assert len(text) < LARGEST / 2


def described(model: BaseModel, above: str = "") -> dict[str, str | None]:
    """{dotted key: description} of the keys of a section and of those below it."""
    found: dict[str, str | None] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found |= described(value, f"{above}{name}.")
        elif name == "baseline":
            for method, section in value.items():
                found |= described(section, f"{above}{name}.{method}.")
        elif name != "overrides" and value is not None:
            found[f"{above}{name}"] = field.description
    return found


@each_preset
def test_above_each_key_stands_what_it_is_in_one_line(path: Path) -> None:
    params = load(path)
    lines = to_yaml(params).splitlines()
    above: list[str] = []
    comments: dict[str, str] = {}
    for before, line in pairwise(lines):
        found = re.match(r"( *)(\w+):", line)
        if found:
            above = [*above[: len(found[1]) // 2], found[2]]
            comments[".".join(above)] = before.strip()
    for key, description in described(params).items():
        assert description, f"{key} has no description"
        assert comments[key] == f"# {description}"
    for key in ("tasks", "diffusion", "baseline", "baseline.bc", "overrides"):
        if key != "baseline.bc" or "bc" in params.baselines:
            assert re.match(r"# [A-Z]\w+", comments[key]), key
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize(
    "title", ["yes", "1e3", "017", "null", "a: b", "a #b", "'", '"', "<b> & ä", "- x", " x ", "=", "1:30"]
)
def test_any_title_comes_back_as_it_is(title: str) -> None:
    params = load(ROOT / "presets" / "smoke.yaml")
    named = params.model_copy(update={"report": params.report.model_copy(update={"title": title})})
    text = to_yaml(named)
    assert parse(text).report.title == title
    assert yaml.safe_load(text)["report"]["title"] == YAML(typ="safe").load(text)["report"]["title"] == title


def test_small_numbers_are_numbers_for_every_reader() -> None:
    tree: dict[str, Any] = yaml.safe_load(whole())
    tree["diffusion"]["learning_rate"] = 1e-5
    text = to_yaml(Params.model_validate(tree))
    assert yaml.safe_load(text)["diffusion"]["learning_rate"] == 1e-5
    assert parse(text).diffusion.learning_rate == 1e-5


def test_imported_data_are_written_where_a_family_has_them() -> None:
    tree: dict[str, Any] = yaml.safe_load(whole())
    tree["overrides"]["point_robot"]["tasks"] = {"imported": "1" * 32}
    text = to_yaml(Params.model_validate(tree))
    assert text.count("imported") == 1
    assert parse(text).section("tasks", "point_robot").imported == "1" * 32
