"""Bad parameters: one sentence that names the key."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from metadiffuser.config.loading import LARGEST, check, parse
from metadiffuser.config.params import Params, override_in
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag
from tests.conftest import whole
from tests.helpers.sentences import assert_one_sentence

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
    ("diffusion", "qualities", ["mixed", "mixed"], "diffusion.qualities: the list "),
    ("calibration", "contexts", ["expert", "expert"], "calibration.contexts: the list "),
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


def test_the_examples_cover_every_section() -> None:
    assert {key[0] for key in KEYS} == set(Params.model_fields)
    assert len(NAMED) > 2 * 100
