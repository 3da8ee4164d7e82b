"""Artifacts travel: pushed to a folder, an SSH server and an S3 API, pulled into a fresh clone, where nothing is stale.

The garbage of earlier runs is dropped, and what any preset's record names is not.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metadiffuser.pipeline.gc import outputs
from tests.conftest import require
from tests.helpers.stubbed import Stubbed, shrink, stubbed_copy

pytestmark = pytest.mark.engine

BIN = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))


def git(project: Stubbed, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return str(project.run("git", *identity, *arguments).stdout)


def commit(project: Stubbed) -> None:
    """Commit what a lab would: the record, the results and the parameters."""
    git(project, "add", "dvc.lock", "results", "params.yaml", "presets", ".dvc/config")
    git(project, "commit", "--quiet", "-m", "results")


def use(project: Stubbed, preset: str) -> None:
    project.run("python", "-m", "metadiffuser.cli", "use", preset)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    """A project in which the smoke preset has run, committed."""
    project = stubbed_copy(tmp_path_factory.mktemp("made") / "project", "smoke")
    shrink(project)
    use(project, "smoke")
    project.snakemake()
    commit(project)
    return project


def outputs_on_disk(project: Stubbed) -> set[str]:
    found = (path for name in ("artifacts", "results") for path in (project.root / name).rglob("*") if path.is_file())
    return {str(path.relative_to(project.root)) for path in found if path.name != ".snakemake_timestamp"}


def artifacts(project: Stubbed) -> dict[str, bytes]:
    folder = project.root / "artifacts"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".snakemake_timestamp"
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server until the block ends; it begins when the server answers on ``port``."""
    with log.open("wb") as stream:
        server = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"{command[0]} does not answer:\n{log.read_text()}")
                time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(timeout=30)


def assert_travels(made: Stubbed, scratch: Path, remote: list[list[str]], **variables: str) -> None:
    """Push from a copy of ``made`` to the remote that the commands of ``remote`` set, and pull in a fresh clone."""
    lab = made.twin(scratch / "lab")
    for words in remote:
        lab.run("dvc", "remote", *words, check=True, **variables)
    commit(lab)
    lab.run("dvc", "push", check=True, **variables)
    git(lab, "clone", "--quiet", str(lab.root), str(scratch / "clone"))
    clone = Stubbed(scratch / "clone")
    shutil.copytree(lab.root / ".stub", clone.root / ".stub")
    local = lab.root / ".dvc" / "config.local"
    if local.exists():
        shutil.copy(local, clone.root / ".dvc" / "config.local")
    assert not (clone.root / "artifacts").exists()

    clone.run("dvc", "pull", check=True, **variables)
    assert artifacts(clone) == artifacts(made)
    assert len(artifacts(clone)) >= 7
    clone.run("dvc", "status", "--quiet")
    assert "Nothing to be done" in clone.snakemake("--dry-run")
    clone.run("dvc", "repro")
    assert clone.ran() == []


def test_through_a_folder(made: Stubbed, tmp_path: Path) -> None:
    assert_travels(made, tmp_path, [["add", "--default", "lab", str(tmp_path / "store")]])
    assert any((tmp_path / "store" / "files" / "md5").iterdir())


@pytest.mark.storage
def test_through_an_ssh_server(made: Stubbed, tmp_path: Path) -> None:
    require("dvc_ssh", "pip install -e '.[storage]'")
    sshd = shutil.which("sshd", path=BIN)
    if sshd is None:
        require("sshd", "apt-get install openssh-server")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized_keys")
    port = free_port()
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "authorized_keys",
        "AuthenticationMethods": "publickey",
        "PermitRootLogin": "prohibit-password",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "Subsystem": "sftp internal-sftp",
    }
    config = tmp_path / "sshd_config"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    if os.geteuid() == 0:  # where an unprivileged process of the server is shut in
        Path("/run/sshd").mkdir(exist_ok=True)
    with served([str(sshd), "-D", "-e", "-f", str(config)], port, tmp_path / "sshd.log"):
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path / 'store'}"
        remote = [["add", "--default", "lab", url], ["modify", "--local", "lab", "keyfile", str(tmp_path / "user")]]
        assert_travels(made, tmp_path, remote)
    assert any((tmp_path / "store" / "files" / "md5").iterdir())


@pytest.mark.storage
def test_through_an_s3_api(made: Stubbed, tmp_path: Path) -> None:
    require("dvc_s3", "pip install -e '.[storage]'")
    require("moto_server", "pip install -e '.[storage]'")
    port = free_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    address = f"http://127.0.0.1:{port}"
    with served([str(shutil.which("moto_server")), "-H", "127.0.0.1", "-p", str(port)], port, tmp_path / "s3.log"):
        urllib.request.urlopen(urllib.request.Request(f"{address}/lab", method="PUT"), timeout=30).close()
        remote = [["add", "--default", "lab", "s3://lab/metadiffuser"], ["modify", "lab", "endpointurl", address]]
        assert_travels(made, tmp_path, remote, **keys)
        with urllib.request.urlopen(f"{address}/lab?list-type=2", timeout=30) as listing:
            assert b"metadiffuser/files/md5" in listing.read()


def kept(project: Stubbed) -> set[str]:
    """The hashes of the objects in the cache."""
    folder = project.root / ".dvc" / "cache" / "files" / "md5"
    return {path.parent.name + path.name for path in folder.rglob("*") if path.is_file()}


def recorded(text: str) -> set[str]:
    return {out["md5"] for out in outputs(text)}


def run_preset(project: Stubbed, preset: str) -> None:
    use(project, preset)
    project.snakemake()


def gc(project: Stubbed, *options: str) -> str:
    done = project.run("python", "-m", "metadiffuser.cli", "gc", *options)
    return str(done.stdout)


def test_presets_side_by_side_and_their_garbage(made: Stubbed, tmp_path: Path) -> None:
    project = made.twin(tmp_path / "project")
    smoke = project.root / "dvc.lock"
    of_smoke = recorded(smoke.read_text())
    run_preset(project, "quick")
    of_both = recorded(smoke.read_text())
    assert of_smoke < of_both, "a preset's record is kept while another one runs"
    for preset in ("smoke", "quick"):
        project.ran()
        run_preset(project, preset)
        assert project.ran() == [], f"{preset} has nothing to do after the other preset's run"
        project.run("dvc", "status", "--quiet")
        assert recorded(smoke.read_text()) == of_both

    # dvc deletes what it has once handled and no stage has out: but not another preset's files, by whichever engine.
    there = outputs_on_disk(project)
    use(project, "smoke")
    project.run("dvc", "checkout")
    project.run("dvc", "repro", "--force", "describe_dataset@smoke-point_robot")
    use(project, "quick")
    project.run("dvc", "checkout")
    assert outputs_on_disk(project) == there
    commit(project)

    # A run that is thrown away again leaves garbage, one that is tagged does not.
    project.edit("presets/quick.yaml", "\ndiffusion:\n", "\ndiffusion:\n  ema_decay: 0.98\n")
    run_preset(project, "quick")
    of_tagged = recorded(smoke.read_text())
    git(project, "checkout", "--quiet", "--detach")
    commit(project)
    git(project, "tag", "tried")
    git(project, "checkout", "--quiet", "-")
    project.edit("presets/quick.yaml", "\ndiffusion:\n", "\ndiffusion:\n  ema_decay: 0.97\n")
    run_preset(project, "quick")
    of_garbage = recorded(smoke.read_text()) - of_tagged - of_both
    git(project, "checkout", "--quiet", "dvc.lock", "presets", "params.yaml", "results")
    assert of_garbage
    assert of_garbage | of_tagged | of_both <= kept(project)

    # On its own, dvc would drop the preset that is not in force.
    trial = project.twin(tmp_path / "trial")
    trial.run("dvc", "gc", "--workspace", "--force")
    assert not of_smoke <= kept(trial)

    before = kept(project)
    gc(project, "--dry")
    assert kept(project) == before
    gc(project)
    assert kept(project) & of_garbage == set()
    assert of_tagged | of_both <= kept(project)
    shutil.rmtree(project.root / "artifacts")
    for report in (project.root / "results").glob("*/report.html"):  # of the run that was thrown away
        report.unlink()
    for preset in ("smoke", "quick"):
        use(project, preset)
        project.run("dvc", "checkout")
    assert json.loads(project.run("dvc", "status", "--json").stdout) == {}


def test_garbage_in_a_remote(made: Stubbed, tmp_path: Path) -> None:
    project = made.twin(tmp_path / "project")
    project.run("dvc", "remote", "add", "lab", str(tmp_path / "store"))
    commit(project)
    of_shown = recorded((project.root / "dvc.lock").read_text())
    project.edit("params.yaml", "ema_decay: 0.99", "ema_decay: 0.98")
    project.snakemake()
    of_garbage = recorded((project.root / "dvc.lock").read_text()) - of_shown
    project.run("dvc", "push", "--remote", "lab")
    git(project, "checkout", "--quiet", "dvc.lock", "params.yaml")
    project.run("dvc", "checkout", "--force")
    project.run("dvc", "push", "--remote", "lab")
    gc(project, "--remote", "lab")
    left = {path.parent.name + path.name for path in (tmp_path / "store").rglob("*") if path.is_file()}
    assert of_garbage
    assert left & of_garbage == set()
    assert of_shown <= left

    # What a folder consists of stands in the cache; without that, its files would look like garbage.
    for listing in (project.root / ".dvc" / "cache").rglob("*.dir"):
        listing.unlink()
    done = project.run("python", "-m", "metadiffuser.cli", "gc", "--remote", "lab", check=False)
    assert done.returncode == 2
    assert "run 'dvc fetch --remote lab' first" in done.stderr
    assert {path.parent.name + path.name for path in (tmp_path / "store").rglob("*") if path.is_file()} == left


@pytest.mark.parametrize("name", ["c#d", "c, 'd' = [%e]"])
def test_a_cache_of_any_name_keeps_what_is_recorded(made: Stubbed, tmp_path: Path, name: str) -> None:
    project = made.twin(tmp_path / "project")
    shutil.move(project.root / ".dvc" / "cache", tmp_path / name)
    project.run("dvc", "cache", "dir", "--local", str(tmp_path / name))
    garbage = tmp_path / name / "files" / "md5" / "00" / ("0" * 30)
    garbage.parent.mkdir(exist_ok=True)
    garbage.write_text("of no record")
    use(project, "quick")  # so that nothing but the record names what smoke has made
    gc(project)
    assert not garbage.exists()
    shutil.rmtree(project.root / "artifacts")
    use(project, "smoke")
    project.run("dvc", "checkout")
    assert artifacts(project) == artifacts(made)


def test_what_gc_cannot_do_is_one_sentence(made: Stubbed, tmp_path: Path) -> None:
    project = made.twin(tmp_path / "project")

    def refused(*options: str) -> str:
        done = project.run("python", "-m", "metadiffuser.cli", "gc", *options, check=False)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        return str(done.stderr)

    assert "--remote nope: no such remote; 'dvc remote add' makes one" in refused("--dry", "--remote", "nope")
    project.run("dvc", "remote", "add", "lab", str(tmp_path / "store"))
    assert "--remote nope: no such remote; expected one of lab" in refused("--dry", "--remote", "nope")
    record = project.root / "dvc.lock"
    sound = record.read_bytes()
    for damage in (b"\xff", b"stages: {x: {outs: 3}}"):
        record.write_bytes(damage)
        assert refused().startswith("metadiffuser: dvc.lock: damaged or in the middle of a merge; 'git checkout")
    git(project, "commit", "--quiet", "-m", "damaged", "dvc.lock")
    git(project, "tag", "damaged")
    git(project, "reset", "--quiet", "--soft", "HEAD~")
    record.write_bytes(sound)
    assert "refs/tags/damaged:dvc.lock: damaged" in refused()
    assert "commit a valid one there, or delete refs/tags/damaged" in refused()
    git(project, "tag", "--delete", "damaged")
    (project.root / ".dvc" / "config").write_text("[core]\n    nonsense = 1\n")
    said = refused()
    assert said.startswith("metadiffuser: dvc gc: configuration error")
    assert "dvc.org/support" not in said


def test_without_a_record_there_is_nothing_to_keep(made: Stubbed, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    subprocess.run(["git", "init", "--quiet", tmp_path / "empty"], check=True)
    environment = {**made.environment(), "PYTHONPATH": str(made.root / "src")}
    command = ["python", "-m", "metadiffuser.cli", "gc"]
    done = subprocess.run(command, cwd=tmp_path / "empty", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no recorded outputs here" in done.stderr
