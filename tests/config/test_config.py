"""Mistakes in params.yaml: one sentence that names the key and the nearest right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metadiffuser.config.loading import check, load, parse, read_tree
from metadiffuser.errors import InputError
from tests.conftest import ROOT, whole

TEXT = whole()
TASKS = "  point_robot:\n    tasks: none"
BASELINE = "    baseline:\n      bc: none"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("  horizon:", "  horizn:", "unknown key 'diffusion.horizn'; did you mean 'horizon'?"),
        ("\ndiffusion:", "\ndifusion:", "unknown key 'difusion'; did you mean 'diffusion'?"),
        ("seed: 0", "seed: 0\nseed: 1", "key 'seed' stands twice (line 8); remove one"),
        ("  train: 3", "  train: 3\n  train: 4", "key 'train' stands twice (line 25); remove one"),
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
        ("seed: 0", "seed: !!python/name:os.system", "not valid YAML at line 7: "),
        ("seed: 0", "seed: !!python/object/apply:os.system [ls]", "not valid YAML at line 7: "),
        ("seed: 0", "seed: 0\n? [1]\n: 2", "line 8: expected a word as key"),
        ("seed: 0", "<<: {seed: 0}", "line 7: expected a word as key, got <<"),
        ("seed: 0", "seed: [", "not valid YAML at line "),
        ("seed: 0", "seed: " + "[" * 5000, "not valid YAML: "),
        ("preset: smoke", "preset: ../elsewhere", "'preset' is '../elsewhere': "),
        ("device: cpu", "device: gpu", "'device' is 'gpu': input should be 'auto', 'cpu' or 'cuda'"),
        ("seeds: [0]", "seeds: [0, 0]", "seeds: the list [0, 0] names something twice"),
        ("shards: [0, 1]", "shards: [0, 2]", "shards: expected 0, 1, 2, ... without gaps, got [0, 2]"),
        ("families: [", "families: [ant_dit, ", "families.0: unknown family 'ant_dit'; did you mean 'ant_dir'?"),
        ("families: [", "families: [../x, ", "'families.0' is '../x': string should match pattern"),
        ("baselines: [bc", "baselines: [mcaw", "baselines.0: unknown method 'mcaw'; did you mean 'macaw'?"),
        ("  point_robot:\n", "  point_robt:\n", "overrides.point_robt: unknown family; did you mean 'point_robot'?"),
        (
            TASKS,
            "  point_robot:\n    taskz: none",
            "overrides.point_robot.taskz: unknown section; did you mean 'tasks'?",
        ),
        (
            TASKS,
            "  point_robot:\n    tasks: {trian: 1}",
            "unknown key 'overrides.point_robot.tasks.trian'; did you mean 'train'?",
        ),
        ("\n  bc:\n", "\n  bcc:\n", "unknown key 'baseline.bcc'; did you mean 'bc'?"),
        ("\n    task_batch: 3\n", "\n    taskbatch: 3\n", "unknown key 'baseline.focal.taskbatch'; did you mean"),
        (
            BASELINE,
            "    baseline:\n      bcc: none",
            "overrides.point_robot.baseline.bcc: unknown section; did you mean 'bc'?",
        ),
        (BASELINE, "    baseline:\n      bc: 3", "'overrides.point_robot.baseline.bc' is 3: expected a mapping"),
        (
            BASELINE,
            "    baseline:\n      bc: {hiden: [3]}",
            "unknown key 'overrides.point_robot.baseline.bc.hiden'; did you mean 'hidden'?",
        ),
        (TASKS, "  point_robot:\n    tasks: {train: 0}", "'overrides.point_robot.tasks.train' is 0: "),
        (TASKS, "  point_robot:\n    tasks: 3", "'overrides.point_robot.tasks' is 3: expected a mapping, or the word"),
        (TASKS, "  point_robot:\n    tasks:", "'overrides.point_robot.tasks' is None: expected a mapping, or the word"),
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
    with pytest.raises(InputError, match=r"not UTF-8 text; save it as UTF-8$"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("old", "key"),
    [
        ("seed: 0\n", "seed"),
        ("  horizon: 8\n", "diffusion.horizon"),
        ("\nreport:\n", "report"),
        ("\n    window: 6\n", "baseline.prompt_dt.window"),
    ],
)
def test_a_missing_key_is_named_with_the_remedy(old: str, key: str) -> None:
    assert old in TEXT
    tree = TEXT.replace(old, "\n", 1)
    if key == "report":
        tree = tree[: tree.index("# decimals of scores")] + tree[tree.index("# For each family") :]
    message = f"^params.yaml: key '{key}' is missing; 'metadiffuser use params.yaml' adds it with its default$"
    with pytest.raises(InputError, match=message):
        parse(tree)


def test_keys_without_a_default_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("preset: mine\nfamilies: [point_robot]\n")
    with pytest.raises(InputError, match=r"mine\.yaml: key 'baselines' is missing and has no default; add it"):
        load(tmp_path / "mine.yaml")


def test_numbers_in_scientific_notation_are_numbers() -> None:
    text = TEXT.replace("  temperature:", "  temperature: 1e-2 #", 1)
    assert parse(text).planning.temperature == 0.01


def test_overrides_are_merged_for_their_family_alone() -> None:
    params = parse(TEXT.replace(TASKS, "  point_robot:\n    tasks: {train: 8}", 1))
    assert params.section("tasks", "point_robot").train == 8
    assert params.section("tasks", "cheetah_vel").train == params.section("tasks").train == 3
    assert params.section("tasks", "point_robot").test == params.tasks.test
    methods = parse(TEXT.replace(BASELINE, "    baseline:\n      bc: {hidden: [5]}", 1))
    assert methods.section("baseline.bc", "point_robot").hidden == [5]
    assert methods.section("baseline.bc", "cheetah_vel") == methods.section("baseline.bc") == params.baseline["bc"]


@pytest.mark.parametrize("nothing", ["none", "{}", None])
@pytest.mark.parametrize("place", ["tasks", "baseline.bc", "baseline", ""])
def test_none_an_empty_mapping_and_absence_say_alike_that_nothing_is_overridden(
    nothing: str | None, place: str, tmp_path: Path
) -> None:
    tree = read_tree_of(TEXT, tmp_path)
    node: Any = tree["overrides"]
    *above, leaf = ["point_robot", *filter(None, place.split("."))]
    for part in above:
        node = node[part]
    del node[leaf]
    if nothing is not None:
        node[leaf] = {} if nothing == "{}" else nothing
    found, usual = check(tree), parse(TEXT)
    for name in usual.overridable():
        assert found.section(name, "point_robot") == usual.section(name, "point_robot")
        assert found.override(name, "point_robot") == {}
    dumped = found.model_dump()["overrides"]["point_robot"]
    expected = usual.model_dump()["overrides"]["point_robot"]
    if nothing == "{}" and place in ("tasks", "baseline.bc"):  # DVC reads it so, and both engines see the same
        where = dumped if place == "tasks" else dumped["baseline"]
        assert where[leaf] == {}
        where[leaf] = "none"
    assert dumped == expected


def read_tree_of(text: str, folder: Path) -> dict[str, Any]:
    (folder / "tree.yaml").write_text(text)
    return read_tree(folder / "tree.yaml")


def test_sections_of_methods_that_are_not_in_force_may_stay() -> None:
    without = TEXT.replace("baselines: [bc, focal, ", "baselines: [bc, ", 1)
    params = parse(without)
    assert "focal" not in params.baselines
    assert params.model_dump()["baseline"]["focal"] == parse(TEXT).model_dump()["baseline"]["focal"]
    with pytest.raises(InputError, match=r"unknown key 'baseline\.focal\.taskbatch'"):
        parse(without.replace("\n    task_batch: 3\n", "\n    taskbatch: 3\n", 1))


def test_params_yaml_is_what_use_quick_writes() -> None:
    assert (ROOT / "params.yaml").read_text(encoding="utf-8") == whole("quick")
