"""Presets as differences: what they extend, how they merge, and that they say what they said when they were whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from metadiffuser.config import inheritance, plugins
from metadiffuser.config.inheritance import merged
from metadiffuser.config.loading import load, read_tree
from metadiffuser.config.params import SHARED, Params
from metadiffuser.errors import InputError
from tests.conftest import ROOT

PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of presets, in a project."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "presets"
    folder.mkdir()
    return folder


BASE = "preset: base\nfamilies: [point_robot]\nbaselines: [bc]\n"


def test_values_merge_and_lists_and_words_replace() -> None:
    below = {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}, "f": "none"}
    above = {"a": {"c": [3]}, "d": "none", "f": {"g": 2}}
    assert merged(below, above) == {"a": {"b": 1, "c": [3]}, "d": "none", "f": {"g": 2}}
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}, "f": "none"}, "the arguments stay as they are"


def test_a_chain_of_presets(presets: Path) -> None:
    (presets / "base.yaml").write_text(f"{BASE}seed: 1\ndiffusion: {{steps: 1, width: 16}}\nseeds: [0, 1]\n")
    (presets / "middle.yaml").write_text("extends: base\npreset: middle\ndiffusion: {steps: 2}\n")
    (presets / "top.yaml").write_text("extends: middle\npreset: top\ndiffusion: {horizon: 16}\nseeds: [5]\n")
    params = load(presets / "top.yaml")
    assert (params.preset, params.seed, params.seeds) == ("top", 1, [5])
    diffusion = params.diffusion
    assert (diffusion.steps, diffusion.width, diffusion.horizon) == (2, 16, 16)
    assert diffusion.batch_size == type(diffusion)().batch_size


def test_the_word_none_removes_an_override(presets: Path) -> None:
    (presets / "base.yaml").write_text(f"{BASE}overrides: {{point_robot: {{diffusion: {{steps: 7}}}}}}\n")
    (presets / "top.yaml").write_text("extends: base\npreset: top\noverrides: {point_robot: {diffusion: none}}\n")
    assert load(presets / "base.yaml").section("diffusion", "point_robot").steps == 7
    assert load(presets / "top.yaml").override("diffusion", "point_robot") == {}


def test_a_file_elsewhere_extends_a_preset(presets: Path, tmp_path: Path) -> None:
    (presets / "base.yaml").write_text(BASE)
    (tmp_path / "base.yaml").write_text("extends: base\nseed: 9\n")
    params = load(tmp_path / "base.yaml")
    assert (params.preset, params.seed) == ("base", 9)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"a": "extends: bse\n"}, "presets/a.yaml: 'extends' is 'bse', which is not a preset; did you mean 'base'?"),
        ({"a": "extends: [base]\n"}, "presets/a.yaml: 'extends' is ['base'], which is not a preset"),
        ({"a": "extends: a\n"}, "presets/a.yaml: 'extends' leads in a circle (a -> a); remove it from one"),
        (
            {"a": "extends: b\n", "b": "extends: c\n", "c": "extends: b\n"},
            "presets/a.yaml: 'extends' leads in a circle (a -> b -> c -> b)",
        ),
        (
            {"a": "extends: b\n", "b": "extends: base\ndifusion: {}\n"},
            "presets/b.yaml: unknown key 'difusion'; did you mean 'diffusion'?",
        ),
        ({"a": "extends: base\nbaseline: {bcc: {}}\n"}, "presets/a.yaml: unknown key 'baseline.bcc'"),
        ({"a": "extends: base\noverrides: {ant: {}}\n"}, "presets/a.yaml: overrides.ant: unknown family"),
        (
            {"a": "extends: base\ndiffusion:\n"},
            "presets/a.yaml: 'diffusion' is None: expected keys with values below it",
        ),
        (
            {"a": "extends: base\ndiffusion: 3\n"},
            "presets/a.yaml: 'diffusion' is 3: expected keys with values below it",
        ),
        (
            {"a": "extends: base\nbaseline: {focal: {discnt: 1}}\n"},
            "presets/a.yaml: unknown key 'baseline.focal.discnt'; did you mean 'discount'?",
        ),
        (
            {"a": "extends: base\nbaseline: {focal: {discount: maybe}}\n"},
            "presets/a.yaml: 'baseline.focal.discount' is 'maybe'",
        ),
        (
            {"a": "extends: base\noverrides: {ant_dir: {difusion: {}}}\n"},
            "presets/a.yaml: overrides.ant_dir.difusion: unknown section; did you mean 'diffusion'?",
        ),
        (
            {"a": "extends: base\noverrides: {ant_dir: {baseline: {macaw: {stepz: 3}}}}\n"},
            "presets/a.yaml: unknown key 'overrides.ant_dir.baseline.macaw.stepz'",
        ),
    ],
)
def test_a_mistake_names_the_file_that_it_is_in(presets: Path, files: dict[str, str], sentence: str) -> None:
    (presets / "base.yaml").write_text(BASE)
    for name, text in files.items():
        (presets / f"{name}.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load(Path("presets/a.yaml"))
    assert str(caught.value).startswith(sentence)


def test_params_yaml_extends_nothing(presets: Path, tmp_path: Path) -> None:
    (presets / "base.yaml").write_text(BASE)
    (tmp_path / "params.yaml").write_text("extends: base\n")
    with pytest.raises(InputError, match=r"params\.yaml: 'extends' is for presets; 'metadiffuser use params\.yaml'"):
        load("params.yaml")


def test_a_preset_may_say_more_than_it_runs(presets: Path) -> None:
    more = "baseline: {macaw: {steps: 3}}\n"
    more += "overrides: {ant_dir: {tasks: {train: 9}}, point_robot: {baseline: {macaw: {steps: 4}}}}\n"
    (presets / "base.yaml").write_text(BASE + more)
    dumped = load(presets / "base.yaml").model_dump()
    assert list(dumped["baseline"]) == ["bc"]
    assert dumped["overrides"]["point_robot"]["baseline"] == {"bc": "none"}
    assert "ant_dir" not in dumped["overrides"]
    (presets / "top.yaml").write_text("extends: base\nfamilies: [point_robot, ant_dir]\nbaselines: [macaw]\n")
    top = load(presets / "top.yaml")
    assert (top.baseline["macaw"].steps, top.section("baseline.macaw", "point_robot").steps) == (3, 4)
    assert top.section("tasks", "ant_dir").train == 9


def everything(path: Path) -> Params:
    """A preset as if every method of the package were in force, so that all it says counts."""
    tree: dict[str, Any] = {}
    for each in reversed([path, *inheritance.extended(path, read_tree)]):
        tree = merged(tree, read_tree(each))
    tree.pop("extends", None)
    methods = [name for name in plugins.names("method") if not plugins.is_plugin("method", name)]
    return Params.model_validate(inheritance.in_force({**tree, "baselines": methods}))


def resolved(path: Path) -> dict[str, Any]:
    """Every value that a job could read of a preset, by section and family."""
    params = everything(path)
    sections = (*SHARED, *(f"baseline.{name}" for name in params.baseline))
    found = {
        f"{family} {name}": params.section(name, family).model_dump()
        for family in (None, *params.families)
        for name in sections
    }
    named = load(path)
    top = ("preset", "seed", "device", "families", "representations", "baselines", "seeds", "shards")
    return {**found, **{key: getattr(named, key) for key in top}, "report": params.report.model_dump()}


# Of the resolved values, which were compared with those of the whole files that presets had been before. A change of a
# default or of a preset changes them: then write down what this test shows, and say in the CHANGELOG what changed.
DIGESTS = {
    "expert": "622283259b2dad74",
    "extrapolation": "71982cfda23e3241",
    "laptop": "a0765e211b35fb23",
    "literature": "5e5bb24b82d0e5bb",
    "medium": "94eae67b432884ee",
    "paper": "413aa28a1b276d51",
    "pilot": "bf2383cbc1255e39",
    "quick": "e800a4a3c628d8ce",
    "random": "f5440339fa6029b9",
    "representations": "0dfc8619fd6ea964",
    "smoke": "25f5bcc5bc979ddf",
}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_resolves_to_the_values_recorded(path: Path) -> None:
    text = json.dumps(resolved(path), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == DIGESTS[path.stem], "the values of this preset changed"


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_is_valid_and_bears_its_name(path: Path) -> None:
    assert load(path).preset == path.stem


STUDIES = {
    "representations": {"families", "representations", "baselines", "seeds", "evaluation"},
    "expert": {"baselines", "seeds", "qualities"},
    "extrapolation": {"families", "baselines", "seeds", "tasks"},
    "literature": {"families", "baselines", "diffusion", "planning", "calibration", "evaluation", "baseline"},
}


def leaves(tree: Any, *path: str) -> dict[str, Any]:
    """Return {dotted key: value}."""
    if not isinstance(tree, dict):
        return {".".join(path): tree}
    return {name: leaf for key, value in tree.items() for name, leaf in leaves(value, *path, key).items()}


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_departs_from_laptop_in_what_it_studies_alone(study: str) -> None:
    path = ROOT / "presets" / f"{study}.yaml"
    assert read_tree(path)["extends"] == "laptop"
    own = leaves({key: value for key, value in read_tree(path).items() if key not in ("extends", "preset")})
    parts = [name.split(".") for name in own]
    assert {"qualities" if part[-1] == "qualities" else part[0] for part in parts} == STUDIES[study]
    assert {name for name in own if name.startswith("evaluation")} <= {
        f"evaluation.{key}" for key in ("contexts", "guides", "samplers")
    }


@pytest.mark.parametrize("quality", ["random", "medium"])
def test_a_preset_of_one_quality_departs_from_pilot_in_what_is_learnt_from_and_leaves_the_rest_out(
    quality: str,
) -> None:
    own, pilot = (resolved(ROOT / "presets" / f"{name}.yaml") for name in (quality, "pilot"))
    changed = {name: value for name, value in leaves(own).items() if value != leaves(pilot)[name]}
    kept = {
        f"{family} {section}.qualities": [quality]
        for family in ("None", *own["families"])
        for section in ("diffusion", "baseline.bc", "baseline.cvae_planner")
    }
    left_out = {
        f"{family} {key}": value
        for family in ("None", *own["families"])
        for key, value in (
            ("calibration.beyond", False),
            ("evaluation.contexts", ["expert"]),
            ("evaluation.samplers", []),
        )
    }
    assert changed == {
        "preset": quality,
        "families": own["families"],
        "baselines": ["bc"],
        **kept,
        **left_out,
    }
