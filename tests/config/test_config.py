"""Mistakes in params.yaml: one sentence that names the key and the nearest right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metadiffuser.config.loading import load, parse
from metadiffuser.errors import InputError
from tests.conftest import ROOT

TEXT = (ROOT / "presets" / "smoke.yaml").read_text(encoding="utf-8")
FIRST_OVERRIDE = "  point_robot:\n    tasks: {}"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("  horizon:", "  horizn:", "unknown key 'diffusion.horizn'; did you mean 'horizon'?"),
        ("\ndiffusion:", "\ndifusion:", "unknown key 'difusion'; did you mean 'diffusion'?"),
        ("seed: 0", "seed: 0\nseed: 1", "key 'seed' stands twice (line 3); remove one"),
        ("  train: 3", "  train: 3\n  train: 4", "key 'train' stands twice (line 12); remove one"),
        (
            "{sampler: ddim, steps",
            "{sampler: ddim, step",
            "unknown key 'evaluation.samplers.1.step'; did you mean 'steps'?",
        ),
        ("{sampler: ddim,", "{sampler: dpm,", "'evaluation.samplers.1.sampler' is 'dpm': input should be 'ddpm'"),
        ("seed: 0", "seed: .nan", "'seed' is nan: "),
        ("  temperature:", "  temperature: .nan #", "'planning.temperature' is nan: input should be a finite number"),
        ("  temperature:", "  temperature: .inf #", "'planning.temperature' is inf: "),
        ("  temperature:", "  temperature: '1' #", "'planning.temperature' is '1': input should be a valid number"),
        ("seed: 0", "seed: true", "'seed' is True: input should be a valid integer"),
        ("seed: 0", "seed: -1", "'seed' is -1: input should be greater than or equal to 0"),
        ("seed: 0", "seed: !!python/name:os.system", "not valid YAML at line 2: "),
        ("seed: 0", "seed: !!python/object/apply:os.system [ls]", "not valid YAML at line 2: "),
        ("seed: 0", "seed: 0\n? [1]\n: 2", "line 3: expected a word as key"),
        ("seed: 0", "<<: {seed: 0}", "line 2: expected a word as key, got <<"),
        ("seed: 0", "seed: [", "not valid YAML at line "),
        ("seed: 0", "seed: " + "[" * 5000, "not valid YAML: "),
        ("preset: smoke", "preset: ../elsewhere", "'preset' is '../elsewhere': "),
        ("device: cpu", "device: gpu", "'device' is 'gpu': input should be 'auto', 'cpu' or 'cuda'"),
        ("seeds: [0]", "seeds: [0, 0]", "seeds: the list [0, 0] names something twice"),
        ("shards: [0, 1]", "shards: [0, 2]", "shards: expected 0, 1, 2, ... without gaps, got [0, 2]"),
        ("families: [", "families: [ant, ", "'families.0' is 'ant': input should be 'point_robot'"),
        ("  point_robot:\n", "  point_robt:\n", "overrides.point_robt: unknown family; did you mean 'point_robot'?"),
        (
            FIRST_OVERRIDE,
            "  point_robot:\n    taskz: {}",
            "overrides.point_robot.taskz: unknown section; did you mean 'tasks'?",
        ),
        (FIRST_OVERRIDE, "  point_robot:", "overrides.point_robot.tasks: missing; write 'tasks: {}'"),
        (
            FIRST_OVERRIDE,
            FIRST_OVERRIDE[:-1] + "trian: 1}",
            "unknown key 'overrides.point_robot.tasks.trian'; did you mean 'train'?",
        ),
        ("\n  bc:\n", "\n  bcc:\n", "unknown key 'baseline.bcc'; did you mean 'bc'?"),
        ("baselines: [bc", "baselines: [bd", "'baselines.0' is 'bd': input should be "),
        (
            "baseline: {bc: {}",
            "baseline: {bcc: {}",
            "overrides.point_robot.baseline.bcc: unknown section; did you mean",
        ),
        ("baseline: {bc: {}, ", "baseline: {", "overrides.point_robot.baseline.bc: missing; write 'bc: {}'"),
        ("baseline: {bc: {}", "baseline: {bc: 3", "overrides.point_robot.baseline.bc: expected a mapping"),
        (
            "baseline: {bc: {}",
            "baseline: {bc: {hiden: [3]}",
            "unknown key 'overrides.point_robot.baseline.bc.hiden'; did you mean 'hidden'?",
        ),
        (FIRST_OVERRIDE, FIRST_OVERRIDE[:-1] + "train: 0}", "'overrides.point_robot.tasks.train' is 0: "),
        (FIRST_OVERRIDE, FIRST_OVERRIDE[:-2] + "3", "'overrides.point_robot.tasks' is 3: "),
    ],
)
def test_a_mistake_is_one_sentence(old: str, new: str, sentence: str) -> None:
    assert old in TEXT
    with pytest.raises(InputError) as caught:
        parse(TEXT.replace(old, new, 1))
    message = str(caught.value)
    assert message.startswith("params.yaml: ")
    assert sentence in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "[1]", "3", "word"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"params.yaml: expected a mapping of sections"):
        parse(text)


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"params\.yaml: cannot be read"):
        load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8 text"):
        load(tmp_path / "params.yaml")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(InputError, match="key 'seed' is missing"):
        parse(TEXT.replace("seed: 0\n", "", 1))


def test_numbers_in_scientific_notation_are_numbers() -> None:
    text = TEXT.replace("  temperature:", "  temperature: 1e-2 #", 1)
    assert parse(text).planning.temperature == 0.01


def test_overrides_are_merged_for_their_family_alone() -> None:
    params = parse(TEXT.replace(FIRST_OVERRIDE, FIRST_OVERRIDE[:-1] + "train: 8}", 1))
    assert params.section("tasks", "point_robot").train == 8
    assert params.section("tasks", "cheetah_vel").train == params.section("tasks").train == 3
    assert params.section("tasks", "point_robot").test == params.tasks.test


def test_quick_is_the_preset_in_force() -> None:
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "presets" / "quick.yaml").read_bytes()


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_is_valid_and_bears_its_name(path: Path) -> None:
    assert load(path).preset == path.stem


STUDIES = {
    "representations": {"families", "representations", "baselines", "evaluation"},
    "mixed": {"families", "baselines", "evaluation", "qualities"},
}
TUNED = {
    "representations": set(),
    "mixed": {
        f"overrides.ant_dir.{key}"
        for key in (
            "diffusion.width",
            "diffusion.steps",
            "diffusion.latent_noise",
            "planning.sampler",
            "planning.guidance_weight",
        )
    },
}


def leaves(tree: Any, *path: str) -> dict[str, Any]:
    """Return {dotted key: value}."""
    if not isinstance(tree, dict):
        return {".".join(path): tree}
    return {name: leaf for key, value in tree.items() for name, leaf in leaves(value, *path, key).items()}


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_departs_from_laptop_in_what_it_studies_alone(study: str) -> None:
    own, laptop = (leaves(load(ROOT / "presets" / f"{name}.yaml").model_dump()) for name in (study, "laptop"))
    changed = {name for name in own | laptop if own.get(name) != laptop.get(name)} - {"preset"}
    tuned = {name for name in changed if name.startswith("overrides.")}
    assert tuned == TUNED[study]
    assert own.keys() - tuned == laptop.keys() - tuned
    changed -= tuned
    parts = {name: name.split(".") for name in changed}
    assert {"qualities" if path[-1] == "qualities" else path[0] for path in parts.values()} == STUDIES[study]
    assert {name for name in changed if name.startswith("evaluation")} <= {
        f"evaluation.{key}" for key in ("contexts", "guides", "samplers")
    }
