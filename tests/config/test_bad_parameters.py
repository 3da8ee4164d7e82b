"""Bad parameters: one sentence that names the key, exit code 2, nothing begun; by the verbs and both engines."""

from __future__ import annotations

import copy
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from metadiffuser import cli
from metadiffuser.config.loading import LARGEST, check, load, parse
from metadiffuser.config.params import Params, override_in
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag
from metadiffuser.tuning.settings import read_settings
from tests.conftest import ROOT, Project, copy_project, whole

SMOKE = whole()
ROBOT = "overrides.point_robot"
SECTIONS = parse(SMOKE).overridable()
FUZZ = settings(
    derandomize=True, deadline=None, database=None, max_examples=100, suppress_health_check=list(HealthCheck)
)
Key = tuple[str | int, ...]


def tree() -> dict[str, Any]:
    """The smoke preset with every key also under the first family's overrides."""
    full: dict[str, Any] = yaml.safe_load(SMOKE)
    for section in SECTIONS:
        override_in(full, "point_robot", section).update(copy.deepcopy(dag.lookup(full, section)))
    return full


def keys(node: Any, above: Key = ()) -> Iterator[Key]:
    """Every place in a tree of parameters, list entries included."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield (*above, name)
        yield from keys(child, (*above, name))


TREE = tree()
KEYS = list(keys(TREE))
NAMED = [key for key in KEYS if isinstance(key[-1], str)]


def value_at(key: Key, node: Any = None) -> Any:
    found: Any = TREE if node is None else node
    for part in key:
        found = found[part]
    return found


def edited(key: Key, value: Any) -> dict[str, Any]:
    full = copy.deepcopy(TREE)
    value_at(key[:-1], full)[key[-1]] = value
    return full


def without(key: Key) -> dict[str, Any]:
    full = copy.deepcopy(TREE)
    del value_at(key[:-1], full)[key[-1]]
    return full


def judged(held: str | dict[str, Any]) -> str | None:
    """Return what is said of a text or of what one holds, None if it is taken."""
    try:
        parse(held) if isinstance(held, str) else check(held)
    except InputError as error:
        assert_one_sentence(str(error))
        return str(error)
    return None


def assert_one_sentence(message: str, source: str = "params.yaml") -> None:
    assert message.startswith(f"{source}: ")
    assert message.isprintable(), "a line break or an escape sequence came through"
    assert len(message) < 500


def refused(held: str | dict[str, Any]) -> str:
    message = judged(held)
    assert message is not None, "it was taken"
    return message


def dotted(key: Key) -> str:
    return ".".join(map(str, key))


ODD: list[Any] = [None, math.nan, math.inf, -math.inf, 10**30, -(10**30), "x" * 1000, "\x1b[2J", "a\nb", "", {}, [[]]]
ODD += ["${seed}", "../x", "<b>", "yes", {"x" * 1000: 1}, {"a\nb": 1}, [None], {"$ref": "#"}]


def wrong_for(value: Any) -> list[Any]:
    """What cannot stand in the place of ``value``, whatever the key."""
    if isinstance(value, dict):
        return [None, True, 0, "x", [], [{}], {"unknown": 1}, {"x" * 1000: {}}]
    if isinstance(value, list):
        return [None, True, 0, "x", {}, {"a": []}, [None], [[]], ["x" * 1000], [-1], [math.nan]]
    if isinstance(value, bool):
        return [None, 0, 1, "true", "yes", [], {}]
    if isinstance(value, str):
        empty: list[Any] = [] if value == "none" else [{}]  # a family may say nothing either way
        return [None, True, 0, 1.5, "", "x" * 1000, "a\nb", "\x1b[2J", [], *empty]
    return [odd for odd in ODD if odd != 0] + [True, False, -1, -0.5, "1", [1]]


@FUZZ
@given(st.data())
def test_a_value_of_a_wrong_kind_is_refused_and_its_key_named(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(KEYS))
    value = data.draw(st.sampled_from(wrong_for(value_at(key))))
    message = refused(edited(key, value))
    assert dotted(key) in message


@FUZZ
@given(st.sampled_from(KEYS), st.one_of(st.sampled_from(ODD), st.integers(), st.floats(), st.text(), st.booleans()))
def test_any_value_is_taken_or_refused_in_one_sentence_that_names_its_key(key: Key, value: Any) -> None:
    message = judged(edited(key, value))
    if message is None and value == {}:
        assert key[0] == "overrides", "only a family may say nothing"
    elif message is None:
        kept = value_at(key, check(edited(key, value)).model_dump())
        assert kept == value
        assert isinstance(kept, bool) == isinstance(value, bool)
    else:
        # A family, guide or seed more or less may make no sense of its own, but of the list that it stands in.
        assert any(dotted(part) in message for part in (key, key[:-1]) if part)


@FUZZ
@given(st.sampled_from(NAMED))
def test_a_missing_key_is_named(key: Key) -> None:
    message = judged(without(key))
    if key[0] == "overrides" and "samplers" not in key[:-1]:
        assert message is None, "an override may be left out, and so may all of a section or family"
    else:
        assert message is not None
        assert dotted(key) in message
        assert "missing" in message


@FUZZ
@given(st.sampled_from([key[:-1] for key in NAMED]), st.text(min_size=1))
def test_an_unknown_key_is_named(above: Key, name: str) -> None:
    if name in value_at(above):
        return
    message = refused(edited((*above, name), {}))
    assert "unknown" in message
    assert dotted(above) in message


@FUZZ
@given(st.text() | st.binary().map(lambda content: content.decode("latin-1")))
def test_any_text_is_no_parameter_file(text: str) -> None:
    refused(text)


@FUZZ
@given(
    st.integers(0, len(SMOKE)),
    st.sampled_from(["", "\n", "\t", " ", ":", "- ", "{", "]", "&a ", "*a", "!!str ", "'", '"', "#", "%", "\0"]),
)
def test_a_slip_in_the_text_is_harmless_or_one_sentence(place: int, slip: str) -> None:
    for text in (SMOKE[:place] + slip + SMOKE[place:], SMOKE[:place] + slip + SMOKE[place + 1 :]):
        judged(text)


WORDS = st.text("0123456789abefxon_+-.:~", max_size=8) | st.sampled_from(
    [
        "017",
        "0o17",
        "0x1F",
        "1_000",
        "1:30",
        "yes",
        "off",
        "1e3",
        "1E-3",
        ".inf",
        "-.INF",
        ".NaN",
        "~",
        "2001-01-01",
        "=",
    ]
)


@FUZZ
@given(WORDS, st.sampled_from(["return_scale", "online_context", "candidates"]))
def test_what_is_taken_for_a_number_or_truth_dvc_takes_for_the_same(word: str, key: str) -> None:
    text = re.sub(f"  {key}: .*", f"  {key}: {word}", SMOKE, count=1)
    if judged(text) is None:
        ours = getattr(parse(text).planning, key)
        theirs = YAML(typ="safe").load(f"{key}: {word}")[key]
        assert (ours, isinstance(ours, bool)) == (theirs, isinstance(theirs, bool))


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(8 * [f'*{a}'])}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (SMOKE.replace("seed: 0", "seed: &s 0", 1).replace("test: 2", "test: *s", 1), "line 26: alias '*s'"),
        (LAUGHS + SMOKE, "line 2: alias '*a'"),
        (SMOKE.replace("seed: 0", "seed: &s [*s]", 1), "line 7: alias '*s'"),
        (SMOKE.replace("seed: 0", "seed: " + "9" * 5000, 1), "'seed' is '999"),
        (SMOKE.replace("seed: 0", "seed: 010", 1), "'seed' is '010': input should be a valid integer"),
        (SMOKE.replace("online_context: false", "online_context: no", 1), "'planning.online_context' is 'no': "),
        (
            SMOKE.replace("seed: 0", "seed: !!python/object/apply:os.system [touch pwned]", 1),
            "not valid YAML at line 7",
        ),
        (SMOKE.replace("seed: 0", "seed: !!binary aGk=", 1), "'seed' is b'hi': "),
        (SMOKE.replace("seed: 0", "seed: !!set {a}", 1), "'seed' is {'a'}: "),
        (SMOKE.replace("seed: 0", "seed: !!timestamp 2001-01-01", 1), "'seed' is datetime.date(2001, 1, 1): "),
        (SMOKE + "---\nseed: 1\n", "not valid YAML at line "),
        (SMOKE + "#" * LARGEST, f"longer than {LARGEST} characters"),
        (SMOKE.replace("seed: 0", "seed: 0\n" + "k" * 900 + ": 1", 1), "unknown key 'kkk"),
        (SMOKE.replace("seed: 0", 'seed: 0\n"function-x": 1', 1), "unknown key 'function-x'"),
        (SMOKE.replace("seed: 0", 'seed: 0\n"a\\e[2J\\nb": 1', 1), r"unknown key 'a\x1b[2J b'"),
        (SMOKE.replace("families: [", "families: [point_robot, ", 1), "families: the list ["),
    ],
)
def test_traps_of_the_language(text: str, named: str) -> None:
    assert named in refused(text)


def test_the_largest_file_is_read_within_reason() -> None:
    text = "\n".join(f"k{number}: {number}" for number in range(LARGEST // 20))
    assert "unknown key 'k0'" in refused(text)
    assert "not valid YAML" in refused("[" * LARGEST)


INCONSISTENT = [
    ("diffusion", "horizon", 12, f"{ROBOT}.diffusion.horizon is 12, but the 4 levels of {ROBOT}.diffusion.multipliers"),
    ("planning", "actions_per_plan", 9, "planning.actions_per_plan is 9, but a plan has 8 actions"),
    ("planning", "sampling_steps", 5, "planning.sampling_steps is 5, but "),
    ("evaluation", "guides", ["return", "none"], "evaluation.guides is ['return', 'none']; expected 'dual' first"),
    ("evaluation", "guides", ["dual", "return"], "evaluation.guides is ['dual', 'return']"),
    ("evaluation", "guides", ["dual", "none", "none"], "evaluation.guides: the list "),
    ("evaluation", "contexts", ["expert", "expert"], "evaluation.contexts: the list "),
    ("evaluation", "samplers", 2 * [{"sampler": "ddim", "steps": 2}], "evaluation.samplers: ['ddim 2', 'ddim 2']"),
    ("dataset", "qualities", ["expert", "medium", "mixed"], "dataset.qualities: random is missing"),
    ("dataset", "qualities", ["expert", "medium", "random", "random"], "dataset.qualities: the list "),
    ("context", "qualities", ["expert", "expert"], "context.qualities: the list "),
    ("baseline.bc", "qualities", ["mixed", "mixed"], "baseline.bc.qualities: the list "),
    ("tasks", "train", 1, "tasks.train is 1, but focal needs 2 or more"),
    ("tasks", "test", 1, "tasks.test is 1, but wrong_task in "),
    ("behaviour", "checkpoints", 401, "behaviour.checkpoints is 401, but "),
    ("behaviour", "warmup_steps", 3200, "behaviour.warmup_steps is 3200, but "),
]


@pytest.mark.parametrize(("section", "key", "value", "sentence"), INCONSISTENT)
@pytest.mark.parametrize("above", ["", f"{ROBOT}."], ids=["section", "override"])
def test_an_inconsistent_combination_is_refused(above: str, section: str, key: str, value: Any, sentence: str) -> None:
    full = yaml.safe_load(SMOKE)
    node = override_in(full, "point_robot", section) if above else dag.lookup(full, section)
    node[key] = value
    if key == "horizon":
        node["multipliers"] = [1, 2, 2, 2]
        sentence = sentence.replace(f"{ROBOT}.", above)
    message = refused(full)
    assert sentence in message
    assert f"{above}{section}.{key}" in message


def test_a_quality_that_is_not_collected_is_refused() -> None:
    full = yaml.safe_load(SMOKE)
    full["dataset"]["qualities"] = ["expert", "medium", "random"]
    for trained in (full["context"], full["diffusion"], *full["baseline"].values()):
        trained["qualities"] = ["expert"]
    check(full)
    for section in ("context", "diffusion", "baseline.macaw"):
        changed = copy.deepcopy(full)
        value_at(tuple(section.split(".")), changed)["qualities"] = ["mixed"]
        said = refused(changed)
        assert f"{section}.qualities: mixed is not collected; add it to dataset.qualities" in said
    full["baselines"] = ["bc"]
    full["baseline"]["macaw"]["qualities"] = ["mixed"]
    check(full)  # a method that is not in force is not compared with the rest


def test_baselines_need_a_representation_with_an_encoder() -> None:
    full = yaml.safe_load(SMOKE)
    full["representations"] = ["true_task", "generalised"]
    assert "representations: 'true_task' is first, but baselines use the encoder of the first" in refused(full)
    check(full | {"representations": ["generalised", "true_task"]})


def test_what_a_family_does_not_draw_is_not_asked_for() -> None:
    full = yaml.safe_load(SMOKE)
    full["families"] = ["point_robot"]
    full["overrides"]["point_robot"]["tasks"] = {"imported": "0" * 32, "train": 1, "test": 1}
    full["overrides"]["point_robot"]["behaviour"] = {"checkpoints": 1000}
    check(full)


# The verbs, in this process.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    return tmp_path


def files_below(folder: Path) -> dict[str, float]:
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def verbs() -> list[list[str]]:
    values = {"family": "point_robot", "representation": "generalised", "seed": "0", "shard": "0", "method": "bc"}
    stages = [
        [stage.name, *(w for name in stage.wildcards for w in (f"--{name}", values[name]))]
        for stage in dag.STAGES.values()
    ]
    return [*stages, ["view", "--family", "point_robot"], ["import", "--family", "point_robot", "--from", "."]]


@pytest.mark.parametrize("words", verbs(), ids=lambda words: words[0])
def test_every_verb_refuses_before_it_begins(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "params.yaml").write_text(SMOKE.replace("  horizon:", "  horizn:", 1))
    before = files_below(folder)
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert said.err == "metadiffuser: params.yaml: unknown key 'diffusion.horizn'; did you mean 'horizon'?\n"
    assert said.out == ""
    assert files_below(folder) == before


def unreadable(kind: str, path: Path) -> None:
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "dangling link":
            path.symlink_to("nowhere")
        case "loop":
            path.symlink_to(path.name)
        case _:
            path.write_bytes(
                {
                    "empty": b"",
                    "comment": b"# nothing\n",
                    "utf-16": SMOKE.encode("utf-16"),
                    "latin-1": SMOKE.replace("smoke", "sm\xf6ke", 1).encode("latin-1"),
                    "binary": bytes(range(256)),
                    "nul": SMOKE.encode().replace(b"seed", b"se\0d", 1),
                    "compressed": b"\x1f\x8b" + bytes(1000),
                    "large": b"# " + bytes(10) * LARGEST,
                    "list": b"- 1\n",
                    "word": b"smoke",
                }[kind]
            )


KINDS = ["folder", "pipe", "device", "dangling link", "loop", "empty", "comment", "utf-16", "latin-1", "binary", "nul"]


@pytest.mark.parametrize("kind", [*KINDS, "compressed", "large", "list", "word"])
def test_a_file_that_is_no_parameter_file(kind: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unreadable(kind, folder / "params.yaml")
    assert cli.main(["define_tasks", "--family", "point_robot"]) == 2
    said = capsys.readouterr().err
    assert_one_sentence(said.removesuffix("\n"), "metadiffuser: params.yaml")
    assert not (folder / "artifacts").exists()


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(SMOKE.encode("utf-8-sig"))
    assert load(tmp_path / "params.yaml") == parse(SMOKE)
    preset = (ROOT / "presets" / "smoke.yaml").read_text(encoding="utf-8")
    (tmp_path / "smoke.yaml").write_bytes(preset.encode("utf-8-sig"))
    assert load(tmp_path / "smoke.yaml") == load(ROOT / "presets" / "smoke.yaml")
    settings = ROOT / "workflow" / "tuning.yaml"
    (tmp_path / "tuning.yaml").write_bytes(settings.read_text(encoding="utf-8").encode("utf-8-sig"))
    assert read_settings(tmp_path / "tuning.yaml") == read_settings(settings)


# Both engines, as processes.

MISTAKES = [
    ("  horizon: ", "  horizn: ", "unknown key 'diffusion.horizn'; did you mean 'horizon'?"),
    ("seed: 0", "seed: .nan", "'seed' is nan: "),
    ("  actions_per_plan: 1", "  actions_per_plan: 99", "planning.actions_per_plan is 99, but a plan has 8 actions"),
    ("  title: ", '  title: "\\e[2J\\nok" #', "'report.title' is "),
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project in which nothing has been run."""
    return copy_project(tmp_path_factory.mktemp("mistakes") / "project")


def made(project: Project) -> list[str]:
    """What a job that begins would leave behind."""
    return [name for name in ("artifacts", ".work", "results") if any((project.root / name).rglob("*.*"))]


@pytest.mark.engine
@pytest.mark.parametrize(("old", "new", "sentence"), MISTAKES)
@pytest.mark.parametrize("command", [("snakemake", "-n", "all"), ("dvc", "repro")], ids=["snakemake", "dvc"])
def test_the_engines_begin_nothing(
    checkout: Project, command: tuple[str, ...], old: str, new: str, sentence: str
) -> None:
    assert old in SMOKE
    (checkout.root / "params.yaml").write_text(SMOKE.replace(old, new, 1))
    done = checkout.run(*command, check=False)
    said = [line for line in done.stderr.splitlines() if line.startswith("metadiffuser: ")]
    assert len(said) == 1
    assert_one_sentence(said[0], "metadiffuser: params.yaml")
    assert sentence in said[0]
    assert "Traceback" not in done.stdout + done.stderr
    # dvc has one exit code for every failure; the job's own, 2, is in what it says.
    assert done.returncode == (2 if command[0] == "snakemake" else 255)
    assert command[0] == "snakemake" or "exited with 2" in done.stderr
    assert made(checkout) == []


@pytest.mark.engine
@pytest.mark.parametrize("content", [b"", b"seed: ["], ids=["empty", "broken"])
@pytest.mark.parametrize("command", [("snakemake", "-n", "all"), ("dvc", "repro")], ids=["snakemake", "dvc"])
def test_the_engines_name_a_file_that_is_no_parameter_file(
    checkout: Project, command: tuple[str, ...], content: bytes
) -> None:
    (checkout.root / "params.yaml").write_bytes(content)
    done = checkout.run(*command, check=False)
    assert done.returncode == (2 if command[0] == "snakemake" else 255)
    # An empty file has no 'preset' for dvc.yaml to be filled with, which is what dvc says of it.
    assert "params.yaml" in done.stderr or "Could not find 'preset'" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert made(checkout) == []


def test_the_examples_cover_every_section() -> None:
    assert {key[0] for key in KEYS} == set(Params.model_fields)
    assert len(NAMED) > 2 * 100
