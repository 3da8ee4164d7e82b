"""The profiles for Kubernetes and AWS Batch, as far as a machine without either can try them.

Kubernetes is stood in for by a server that answers its API and runs a pod's command here (``make clouds``).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, Project

PLUGINS = {
    "kubernetes": "snakemake_executor_plugin_kubernetes",
    "aws": "snakemake_executor_plugin_aws_batch",
}
OF_A_SITE = {  # options that its user gives, with values that a dry run accepts
    "kubernetes": {"kubernetes-shared-persistent-volumes": "work:/work", "container-image": "python:3.11"},
    "aws": {
        "aws-batch-shared-region": "eu-west-1",
        "aws-batch-shared-job-queue": "queue",
        "aws-batch-shared-job-role": "role",
        "aws-batch-shared-file-system": "fs-1",
        "aws-batch-shared-mount-path": "/work",
        "container-image": "python:3.11",
    },
}
profiles = pytest.mark.parametrize("name", PLUGINS)


def profile(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "workflow" / "profiles" / name / "config.yaml").read_text()))


def need(name: str) -> None:
    """Skip where a plug-in is missing, also in CI: it is no part of what the project is tested with everywhere."""
    if importlib.util.find_spec(PLUGINS[name]) is None:
        pytest.skip(f"{PLUGINS[name]} is missing; pip install -e '.[{name}]'")


def path(root: Path, name: str) -> str:
    """The value of PYTHONPATH with which Snakemake finds the executor."""
    return os.pathsep.join((str(root / "src"), str(root / "workflow" / name)))


def options(name: str) -> list[str]:
    given = [[f"--{key}", value] for key, value in OF_A_SITE[name].items()]
    return ["--workflow-profile", f"workflow/profiles/{name}", *(word for pair in given for word in pair)]


@profiles
def test_a_profile_leaves_the_site_to_the_users_own(name: str) -> None:
    found, common = profile(name), profile("default")
    assert common.items() <= found.items(), "what the default profile sets holds in a cloud, too"
    assert OF_A_SITE[name].keys().isdisjoint(found)
    assert found["retries"] > 0
    assert (ROOT / "workflow" / name / f"snakemake_executor_plugin_{found['executor'].replace('-', '_')}").is_dir()


@profiles
def test_the_page_shows_the_options_of_a_site(name: str) -> None:
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert f"workflow/profiles/{name}" in page
    for option in OF_A_SITE[name]:
        assert f"{option}: " in page


@profiles
@pytest.mark.slow
def test_snakemake_knows_every_option_of_a_profile(name: str) -> None:
    need(name)
    command = [sys.executable, "-m", "snakemake", "--help"]
    environment = {**os.environ, "PYTHONPATH": path(ROOT, name)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    known = set(re.findall(r"--([a-z][a-z-]+)", done.stdout))
    assert profile(name).keys() | OF_A_SITE[name].keys() <= known


@profiles
@pytest.mark.engine
def test_a_dry_run_accepts_a_profile(name: str, project: Project) -> None:
    need(name)
    command = [sys.executable, "-m", "snakemake", *options(name), "--dry-run", "all"]
    done = project.run(*command, PYTHONPATH=path(project.root, name))
    assert "This was a dry-run" in done.stdout + done.stderr


def test_a_batch_job_asks_for_what_its_rule_declares_and_mounts_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    need("aws")
    monkeypatch.syspath_prepend(str(ROOT / "workflow" / "aws"))
    executor: Any = importlib.import_module("snakemake_executor_plugin_aws_batch_shared")
    given: dict[str, Any] = {
        "jobDefinitionName": "one",
        "timeout": {"attemptDurationSeconds": 300},
        "containerProperties": {
            "image": "python:3.11",
            "command": ["/bin/bash", "-c", "true"],
            "privileged": True,
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "2048"}],
        },
    }
    resources = {"mem_mb": 10000, "gpu": 1, "runtime": 2880}
    found = executor.definition(given, resources, 2, "fs-1", "/work")
    container = found["containerProperties"]
    asked = {one["type"]: one["value"] for one in container["resourceRequirements"]}
    assert asked == {"VCPU": "2", "MEMORY": "10000", "GPU": "1"}
    assert found["timeout"] == {"attemptDurationSeconds": 2880 * 60}
    assert container["volumes"][0]["efsVolumeConfiguration"]["fileSystemId"] == "fs-1"
    assert container["mountPoints"] == [{"sourceVolume": container["volumes"][0]["name"], "containerPath": "/work"}]
    assert (container["image"], container["privileged"]) == ("python:3.11", False)
    assert "GPU" not in json.dumps(executor.definition(given, resources | {"gpu": 0}, 2, "fs-1", "/work"))
    assert given["containerProperties"]["privileged"], "the plug-in's own record stays as it is"


class Pods:
    """What the stand-in for Kubernetes was asked to run: the jobs' records, and their processes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.jobs: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        self.jobs[name] = job
        environment = {**os.environ, "PYTHONPATH": "src"}  # of the checkout: in place of the installation in its .venv
        command = [*container["command"], *container["args"]]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def status(self, name: str) -> dict[str, int]:
        code = self.processes[name].poll()
        return {"active": 1} if code is None else {"succeeded": 1} if code == 0 else {"failed": 1}


@pytest.fixture
def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pods]:
    """A server that answers as much of Kubernetes' API as the executor uses; KUBECONFIG leads to it."""
    found = Pods(tmp_path / "pods")
    found.folder.mkdir()

    class Api(BaseHTTPRequestHandler):
        def answer(self, value: dict[str, Any], code: int = 200) -> None:
            content = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "/jobs" in self.path:
                found.start(value)
            self.answer(value, 201)

        def do_GET(self) -> None:
            if "/jobs/" in self.path:
                name = self.path.split("/jobs/")[1].split("/")[0]
                self.answer({"metadata": {"name": name}, "status": found.status(name)})
            else:
                self.answer({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []})

        def do_DELETE(self) -> None:
            self.answer({"kind": "Status", "status": "Success"})

        def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 - as the base names it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "here", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield found
    server.shutdown()
    thread.join()
    server.server_close()
    for process in found.processes.values():
        process.kill()
        process.wait()


@pytest.mark.engine
@pytest.mark.slow
def test_pods_begin_in_the_checkout_and_ask_for_what_rules_declare(project: Project, pods: Pods) -> None:
    """One job, whose output Snakemake finds where the pod wrote it."""
    need("kubernetes")
    target = "artifacts/smoke/behaviour/point_robot/shard0.safetensors"
    command = [sys.executable, "-m", "snakemake", *options("kubernetes"), "--seconds-between-status-checks", "1"]
    done = project.run(*command, target, PYTHONPATH=path(project.root, "kubernetes"), check=False)
    logs = [log.read_text() for log in pods.folder.glob("*.log")]
    assert done.returncode == 0, [done.stdout[-3000:], done.stderr[-3000:], *logs]
    assert (project.root / target).is_file()
    (job,) = pods.jobs.values()  # the task list is made where Snakemake runs
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "python:3.11"
    assert container["args"][1].startswith(f"cd {project.root} && ")
    assert "--deploy-sources" not in container["args"][1]
    limits = container["resources"]["limits"]
    assert (limits["cpu"], limits["memory"], limits["nvidia.com/gpu"]) == ("1000m", "4000M", "0")
    assert {"name": "work", "mountPath": "/work"} in container["volumeMounts"]
    assert {"name": "work", "persistentVolumeClaim": {"claimName": "work"}} in spec["volumes"]
