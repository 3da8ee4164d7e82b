"""Methods and families of other packages: parameters, schema, params.yaml and sentences as of those inside."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from metadiffuser import cli
from metadiffuser.config import plugins
from metadiffuser.config.loading import load, parse
from metadiffuser.config.params import json_schema
from metadiffuser.config.writing import to_yaml
from metadiffuser.errors import InputError

METHOD = '''
from pydantic import Field

from metadiffuser.config.schema import Count, GradientSteps, MethodParameters


class Parameters(MethodParameters):
    """Method ``nearest``: acts as the nearest transition does."""

    steps: GradientSteps = 11
    neighbours: Count = Field(3, description="transitions that are averaged")
'''


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Entry points as an installed package registers them: methods, of which some are bad, and a family."""
    found = {
        "method": {"nearest": "h1_nearest", "broken": "h1_broken", "bare": "h1_bare"},
        "family": {"pendulum": "h1_never_imported"},
    }
    (tmp_path / "h1_nearest.py").write_text(METHOD)
    (tmp_path / "h1_broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "h1_bare.py").write_text("")
    points = {
        kind: {name: [EntryPoint(name, value, plugins.GROUPS[kind])] for name, value in entries.items()}  # type: ignore[index]
        for kind, entries in found.items()
    }
    monkeypatch.setattr(plugins, "_entry_points", lambda kind: points[kind])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield
    for module in ("h1_nearest", "h1_bare"):
        sys.modules.pop(module, None)


def preset(baselines: str = "[bc, nearest]", **more: str) -> Path:
    extra = "".join(f"{key}: {value}\n" for key, value in more.items())
    path = Path("mine.yaml")
    path.write_text(f"preset: mine\nfamilies: [point_robot, pendulum]\nbaselines: {baselines}\n{extra}")
    return path


def test_a_method_of_another_package_has_a_section_with_its_defaults() -> None:
    overrides = "{pendulum: {baseline: {nearest: {neighbours: 5}}}}"
    params = load(preset(baseline="{nearest: {steps: 12}}", overrides=overrides))
    assert params.baseline["nearest"].model_dump() == {
        "threads": 1,
        "qualities": ["mixed"],
        "steps": 12,
        "batch_size": 256,
        "learning_rate": 0.001,
        "neighbours": 3,
    }
    assert params.section("baseline.nearest", "pendulum").neighbours == 5
    assert params.section("baseline.nearest", "point_robot").neighbours == 3
    assert "baseline.nearest" in params.overridable()


def test_it_stands_in_params_yaml_with_its_comments() -> None:
    params = load(preset())
    text = to_yaml(params)
    assert "  # Method nearest: acts as the nearest transition does\n  nearest:\n" in text
    assert "    # transitions that are averaged\n    neighbours: 3\n" in text
    assert "  pendulum:\n    tasks: none\n" in text
    assert parse(text) == params


def test_it_stands_in_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {name: found for name, found in plugins._entry_points("method").items() if name == "nearest"}
    ordinary = plugins._entry_points
    monkeypatch.setattr(plugins, "_entry_points", lambda kind: points if kind == "method" else ordinary(kind))
    found = json_schema()
    reference = found["$defs"]["Baseline"]["properties"]["nearest"]["$ref"].rsplit("/", 1)[1]
    keys = found["$defs"][reference]["properties"]
    assert keys["neighbours"]["description"] == "transitions that are averaged"
    assert (keys["steps"]["default"], keys["steps"]["description"]) == (11, "gradient steps")
    assert "nearest" in found["properties"]["baselines"]["items"]["enum"]
    assert "pendulum" in found["properties"]["families"]["items"]["enum"]


@pytest.mark.parametrize(
    ("baselines", "more", "sentence"),
    [
        ("[nearst]", {}, "baselines.0: unknown method 'nearst'; did you mean 'nearest'?"),
        (
            "[nearest]",
            {"baseline": "{nearest: {neighbors: 1}}"},
            "unknown key 'baseline.nearest.neighbors'; did you",
        ),
        ("[nearest]", {"baseline": "{nearest: {neighbours: 0}}"}, "'baseline.nearest.neighbours' is 0: "),
        (
            "[broken]",
            {},
            "method 'broken': the plug-in module h1_broken fails to import: ModuleNotFoundError: ",
        ),
        ("[bare]", {}, "method 'bare': its module has no class Parameters; add one that derives from MethodParameters"),
        ("[nearest]", {"overrides": "{pendulm: none}"}, "overrides.pendulm: unknown family; did you mean 'pendulum'?"),
    ],
)
def test_a_mistake_is_one_sentence(baselines: str, more: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        load(preset(baselines, **more))
    assert str(caught.value).startswith(f"mine.yaml: {sentence}")


def test_nothing_is_imported_that_is_not_in_force() -> None:
    load(preset("[bc]"))  # and the family's module, which is nowhere, is not looked for
    assert "h1_nearest" not in sys.modules


def test_the_schema_names_a_plug_in_that_fails_to_import(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 2
    assert capsys.readouterr().err.startswith("metadiffuser: method 'bare': its module has no class Parameters")


def entry(name: str, module: str) -> EntryPoint:
    return EntryPoint(name, module, plugins.GROUPS["method"])


@pytest.mark.parametrize(
    ("name", "found", "sentence"),
    [
        (
            "bc",
            ["h1_nearest"],
            "method 'bc': several have this name: the project's own, h1_nearest; rename",
        ),
        ("nearest", ["h1_nearest", "h1_bare"], "method 'nearest': several have this name: h1_nearest, h1_bare; rename"),
    ],
)
def test_two_methods_of_one_name_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, found: list[str], sentence: str
) -> None:
    points = {name: [entry(name, module) for module in found]}
    monkeypatch.setattr(plugins, "_entry_points", lambda kind: points)
    assert plugins.names("method").count(name) == 1
    for call in (plugins.load, plugins.source):
        with pytest.raises(InputError) as caught:
            call("method", name)
        assert str(caught.value).startswith(sentence)
    assert plugins.load("method", "focal").__name__ == "metadiffuser.baselines.focal", "what has one name alone works"


def test_a_plug_in_that_ends_the_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("h1_script.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.setattr(plugins, "_entry_points", lambda kind: {"script": [entry("script", "h1_script")]})
    with pytest.raises(InputError, match=r"plug-in module h1_script fails to import: SystemExit: 3; correct it"):
        plugins.load("method", "script")


@pytest.mark.parametrize(
    ("files", "source"),
    [
        (["h1_space/sub/mine.py"], "h1_space/sub/mine.py"),
        (["h1_space/sub/__init__.py", "h1_space/sub/mine.py"], "h1_space/sub"),
        (["h1_space/sub/mine/__init__.py"], "h1_space/sub/mine"),
        (["h1_space/sub/other.py"], None),
    ],
)
def test_a_plug_in_may_be_in_a_namespace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: list[str], source: str | None
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.setattr(plugins, "_entry_points", lambda kind: {"mine": [entry("mine", "h1_space.sub.mine")]})
    if source is None:
        with pytest.raises(InputError, match=r"the plug-in module h1_space\.sub\.mine is not found"):
            plugins.source("method", "mine")
    else:
        assert plugins.source("method", "mine") == tmp_path / source
