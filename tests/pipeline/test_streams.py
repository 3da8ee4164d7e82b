"""What the surroundings can refuse: streams that are closed or full, rights, users without a name."""

from __future__ import annotations

import importlib
import io
import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import snakemake_logger_plugin_metadiffuser
from metadiffuser import artifacts, cli, errors
from metadiffuser.errors import InputError, current_folder
from metadiffuser.pipeline import account, compare, gc, locks, programs, streams, sync
from metadiffuser.progress import Progress
from tests.conftest import ROOT, put_in_force


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with presets and the smoke preset in force."""
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    put_in_force(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shell(words: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with redirections."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
    command = ["bash", "-c", f"'{sys.executable}' -m metadiffuser.cli {words}"]
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.slow
def test_a_closed_stream_does_not_change_what_a_verb_does(project: Path, closed: str) -> None:
    job = "define_tasks --family point_robot"
    done = shell(f"{job} {closed}", project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    tasks = project / "artifacts" / "smoke" / "tasks" / "point_robot.json"
    assert isinstance(json.loads(tasks.read_text()), dict), "nothing else was written into it"
    assert shell(f"verify define_tasks --family point_robot {closed}", project).returncode == 0
    assert shell(f"use huge {closed}", project).returncode == 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_named_and_not_the_project(project: Path, unbuffered: str) -> None:
    done = shell("schema > /dev/full", project, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 3
    assert done.stderr.startswith("metadiffuser: standard output: No space left on device; ")
    assert done.stderr.count("\n") == 1


def test_a_mistake_is_said_where_what_was_printed_before_it_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as stream:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdout", stream)

        def verb() -> None:
            with streams.flushed_output():
                print("the main result")
                raise InputError("no report")

        with pytest.raises(InputError, match="no report"):
            verb()
        stream.flush()


@pytest.mark.parametrize("verb", ["", "export "])
def test_a_help_that_cannot_be_written_out_ends_as_any_output(project: Path, verb: str) -> None:
    done = shell(f"{verb}--help > /dev/full", project)
    assert done.returncode == 3
    assert done.stderr.startswith("metadiffuser: standard output: No space left on device; ")
    assert done.stderr.count("\n") == 1
    unread = shell(f"{verb}--help | true; exit ${{PIPESTATUS[0]}}", project)
    assert (unread.returncode, unread.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_the_locale_has_no_character_for_is_printed_as_its_number(tmp_path: Path, encoding: str) -> None:
    script = "from metadiffuser.pipeline import streams; streams.open_streams(); print('47.8\u2020')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": encoding}
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"47.8\\u2020\n")


def test_a_full_standard_error_leaves_the_exit_code_alone(project: Path) -> None:
    assert shell("use huge 2> /dev/full", project).returncode == 2
    assert shell("define_tasks --family point_robot 2> /dev/full", project).returncode == 0


class Broken(io.StringIO):
    """A stream whose reader is gone."""

    def write(self, text: str) -> int:
        """Fail as a pipe does."""
        raise BrokenPipeError(32, "Broken pipe")


def test_progress_that_nobody_reads_does_not_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken())
    with Progress("training", 3) as progress:
        for _ in range(3):
            progress.advance(loss=1.0)
    assert progress.done == 3
    errors.say("nothing")


@pytest.mark.parametrize(("mask", "file", "folder"), [(0o077, 0o600, 0o700), (0o002, 0o664, 0o775)])
def test_files_and_folders_have_the_rights_of_the_umask(tmp_path: Path, mask: int, file: int, folder: int) -> None:
    before = os.umask(mask)
    try:
        artifacts.write_text(tmp_path / "new" / "file", "text")
        for _ in range(2):  # a new one, and one in its place
            with artifacts.whole_directory(tmp_path / "folder") as inside:
                (inside / "part").write_text("text")
    finally:
        os.umask(before)
    rights = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").rglob("*")}
    rights |= {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "folder", tmp_path / "folder" / "part")}
    assert rights == {"file": file, "folder": folder, "part": file}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "new", "part"]


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert artifacts.read_json(tmp_path / "x.json") == {"a": 1}


def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the user's name from passwd and the environment."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.delenv(name, raising=False)


def test_a_user_without_an_entry_in_passwd_gets_a_name(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import getpass

    monkeypatch.setenv("LOGNAME", "x")  # so that all of it is undone
    monkeypatch.setenv("HOME", "x")
    nameless(monkeypatch)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True, env={**os.environ, "LOGNAME": "x"})
    assert cli.main(["use", "quick"]) == 0
    assert "is now the preset quick" in capsys.readouterr().out
    assert getpass.getuser() == f"user{os.getuid()}"
    assert Path.home() == project / ".work" / "home"


def test_a_user_with_a_name_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nameless(monkeypatch)
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LOGNAME", raising=False)
    account.name_user()
    assert "LOGNAME" not in os.environ
    assert os.environ["HOME"] == str(tmp_path)


def test_a_home_that_cannot_be_written_is_none(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/")
    account.name_user()
    assert os.environ["HOME"] == "/", "this user has an entry in passwd"
    nameless(monkeypatch)
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setenv("LOGNAME", "x")
    importlib.reload(
        snakemake_logger_plugin_metadiffuser
    )  # before Snakemake makes its folders, and the Snakefile after
    assert os.environ["HOME"] == str(project / ".work" / "home")


def test_where_git_has_no_clone_or_dvc_no_way_the_remedy_is_named(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for words in (["gc", "--dry"], ["compare", "--preset", "smoke"]):
        metrics = project / "results/smoke/metrics/planner/point_robot/generalised/seed0.json"
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.touch()
        monkeypatch.setattr(compare, "read_run", lambda *_: {})
        assert cli.main(words) == 2
        said = capsys.readouterr().err
        assert "not a git repository" in said
        assert said.endswith("; run in a git clone of the project\n")
    braces = tmp_path / "{x}"
    braces.mkdir()
    monkeypatch.chdir(braces)
    said = programs.remedy("unexpected error - 'x'")
    assert said == f"; DVC cannot work in {braces}, whose path has braces: move the project to a folder without"
    assert programs.remedy("something else") == ""


def test_what_git_refuses_is_named_with_its_cause_and_remedy(project: Path) -> None:
    script = project / "git"
    script.write_text(
        "#!/bin/sh\n"
        "echo \"fatal: detected dubious ownership in repository at '/x'\" >&2\n"
        'echo "To add an exception for this directory, call:" >&2\n'
        'echo "	git config --global --add safe.directory /x" >&2\n'
        "exit 128\n"
    )
    script.chmod(0o755)
    with pytest.raises(InputError, match=r"^git: fatal: detected dubious ownership .*; trust it with 'git config "):
        programs.output("git", str(script))
    with pytest.raises(InputError, match=r"^git: not found; install it, then run this again$"):
        programs.output("git", str(project / "missing"))


def test_what_gc_prints_are_totals() -> None:
    said = (
        "Removing /x/00/1\nRemoving /x/00/2\nRemoved 2 objects from repo cache.\nNo unused 'legacy' cache to remove.\n"
    )
    assert gc.summary(said, False) == "Removed 2 objects from repo cache."
    assert gc.summary(said, True) == "Would remove 2 objects from repo cache."


def test_a_file_of_another_user_gets_an_old_time_all_the_same(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utime, foreign = os.utime, set[tuple[Path, int]]()

    def owned(path: Path, times: tuple[float, float]) -> None:
        if (path, path.stat().st_ino) in foreign:
            raise PermissionError(1, "Operation not permitted")
        utime(path, times)

    monkeypatch.setattr(os, "utime", owned)
    file, folder = project / "file", project / "folder"
    file.write_text("contents")
    folder.mkdir()
    foreign |= {(path, path.stat().st_ino) for path in (file, folder)}
    for path in (file, folder):
        sync._date_back(path)
    assert file.read_text() == "contents"
    assert file.stat().st_mtime == sync.LONG_AGO
    assert sync._time_file(str(folder)).stat().st_mtime == sync.LONG_AGO


def test_what_the_file_system_refuses_to_snakemake_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str) -> None:
        raise OSError(28, "No space left on device", ".work/locks/run.lock")

    monkeypatch.setattr(locks, "hold_checkout", full)
    monkeypatch.delenv(sync.OFF, raising=False)
    with pytest.raises(InputError, match=r"^\.work/locks/run\.lock: No space left on device; make room"):
        sync.take_checkout(["snakemake", "all"])


def test_a_folder_that_was_deleted_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    assert current_folder() == str(gone)
    gone.rmdir()
    assert current_folder() == "the current folder"
    monkeypatch.chdir(tmp_path)


def test_what_a_full_standard_error_still_holds_does_not_fail_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as stream:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stderr", stream)
        stream.write("left")
        streams.discard_errors()
        stream.flush()
