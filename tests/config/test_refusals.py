"""Every verb and both engines refuse bad parameters and unreadable files with exit code 2, and begin nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from metadiffuser import cli
from metadiffuser.config.loading import LARGEST, load, parse
from metadiffuser.pipeline import dag
from metadiffuser.tuning.settings import read_settings
from tests.conftest import ROOT, Project, copy_project, whole
from tests.helpers.sentences import assert_one_sentence

SMOKE = whole()


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
