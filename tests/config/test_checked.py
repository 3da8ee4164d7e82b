"""A params.yaml that was found valid is read again without the methods' files, until something changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metadiffuser.baselines.bc import Parameters
from metadiffuser.config import checked, params, plugins
from metadiffuser.config.loading import PARAMS, load
from metadiffuser.config.schema import MethodParameters
from metadiffuser.errors import InputError
from tests.conftest import whole

asked: list[str] = []


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with parameters, in which every use of a method's file is written down."""
    monkeypatch.chdir(tmp_path)
    PARAMS.write_text(whole(), encoding="utf-8")
    usual = params.method_parameters
    asked.clear()

    def method_parameters(name: str) -> type[MethodParameters]:
        asked.append(name)
        return usual(name)

    monkeypatch.setattr(params, "method_parameters", method_parameters)
    return tmp_path


def test_the_second_reading_asks_no_method_and_gives_the_same() -> None:
    first = load()
    assert "bc" in asked
    asked.clear()
    second = load()
    assert asked == []
    assert second.model_dump_json() == first.model_dump_json()
    family = first.families[0]
    for name in first.overridable():
        assert second.section(name, family).model_dump() == first.section(name, family).model_dump()


def test_a_job_gets_the_section_of_its_method_as_the_methods_type() -> None:
    first = load().section("baseline.bc", "point_robot")
    section = load().typed_section("baseline.bc", "point_robot")
    assert type(section) is Parameters
    assert section == first


def test_a_mistake_made_after_a_valid_reading_is_found() -> None:
    text = PARAMS.read_text(encoding="utf-8")
    load()
    PARAMS.write_text(text.replace("    hidden: ", "    hiden: ", 1), encoding="utf-8")
    with pytest.raises(InputError, match="hiden"):
        load()


def test_an_edit_of_a_methods_file_has_all_checked_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = plugins.source
    edited = project / "bc.py"
    shutil.copy(usual("method", "bc"), edited)
    monkeypatch.setattr(plugins, "source", lambda kind, name: edited if name == "bc" else usual(kind, name))
    load()
    asked.clear()
    load()
    assert asked == []
    edited.write_text(edited.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    load()
    assert "bc" in asked


def test_an_edit_of_the_schema_has_all_checked_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = project / "config"
    shutil.copytree(Path(checked.__file__).parent, package)
    monkeypatch.setattr(checked, "__file__", str(package / "checked.py"))
    load()
    asked.clear()
    load()
    assert asked == []
    schema = package / "schema.py"
    schema.write_text(schema.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    load()
    assert "bc" in asked


@pytest.mark.parametrize("damage", ["", "[]", '{"fingerprint": "x"}', None])
def test_what_was_kept_may_be_damaged_or_old(damage: str | None) -> None:
    whole_file = load()
    if damage is None:  # the right fingerprint over values that no preset could have
        kept = json.loads(checked.KEPT.read_text(encoding="utf-8"))
        kept["params"]["diffusion"]["horizon"] = "long"
        damage = json.dumps(kept)
    checked.KEPT.write_text(damage, encoding="utf-8")
    asked.clear()
    assert load().model_dump() == whole_file.model_dump()
    assert "bc" in asked


def test_a_folder_that_cannot_be_written_changes_nothing(project: Path) -> None:
    (project / ".work").write_text("in the way", encoding="utf-8")
    assert load().model_dump() == load().model_dump()
    assert asked.count("bc") > 1
