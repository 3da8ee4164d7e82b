"""The cluster's profile: what jobs ask SLURM for, and the smoke DAG on a SLURM of one node (``make slurm``)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from metadiffuser.pipeline import dag
from tests.conftest import ROOT, Project, require

BIN = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
ONE_NODE = ROOT / "workflow" / "slurm" / "one-node"
PROFILE = ROOT / "workflow" / "profiles" / "slurm" / "config.yaml"
ASKED = re.compile(r"^rule (\w+):.*?runtime=(\d+),\s*mem_mb=(\d+),\s*gpu=(\w+),", re.DOTALL | re.MULTILINE)


def test_the_page_tells_what_the_rules_ask_for() -> None:
    rules = "\n".join(path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
    asked = {name: (runtime, memory, gpu.replace("GPUS", "1")) for name, runtime, memory, gpu in ASKED.findall(rules)}
    assert set(asked) == set(dag.STAGES)
    page = (ROOT / "docs" / "cluster.md").read_text()
    recorded = {
        name: tuple(row) for name, *row in re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d) \|$", page, re.MULTILINE)
    }
    assert recorded == asked


def test_the_profile_leaves_the_site_to_the_users_own() -> None:
    profile = yaml.safe_load(PROFILE.read_text())
    assert profile["executor"] == "slurm"
    assert profile["retries"] > 0
    of_one_site = {"default-resources", "set-resources", "slurm-no-account", "slurm-status-command", "slurm-qos"}
    assert of_one_site.isdisjoint(profile)
    common = yaml.safe_load((PROFILE.parents[1] / "default" / "config.yaml").read_text())
    assert common.items() <= profile.items(), "what the default profile sets holds on a cluster, too"


def test_one_node_says_what_is_missing(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "env"):
        (programs / name).symlink_to(str(shutil.which(name)))
    call = [str(programs / "bash"), str(ONE_NODE), str(tmp_path / "slurm"), "true"]
    # The script looks for daemons in /usr/sbin as well: without them anywhere the sentence names the packages.
    done = subprocess.run(call, env={"PATH": str(programs)}, capture_output=True, text=True, check=False)
    if shutil.which("munged", path="/usr/sbin") is None:
        assert done.returncode == 2
        assert "munged is missing; install it: apt-get install slurmctld" in done.stderr
    (tmp_path / "taken").mkdir()
    done = subprocess.run([ONE_NODE, tmp_path / "taken", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "name a new folder" in done.stderr


# Cancels the first behaviour job that runs, as a walltime or a failing node would end it, beside the run itself.
RUN = """
(
    until job=$(squeue --noheader --states=RUNNING --format '%A %k' | grep --max-count=1 rule_train_behaviour); do
        sleep 0.2
    done
    scancel "${job%% *}"
) &
snakemake --workflow-profile workflow/profiles/slurm --profile "$SLURM_SITE" all
"""


@pytest.mark.cluster
@pytest.mark.slow
def test_the_smoke_dag_on_a_slurm_of_one_node(project: Project) -> None:
    require("snakemake_executor_plugin_slurm", "pip install -e '.[cluster]'")
    for program in ("munged", "slurmctld", "slurmd", "sbatch"):
        if shutil.which(program, path=BIN) is None:
            require(program, "apt-get install slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge")
    params = project.root / "params.yaml"
    text = params.read_text().replace("shards: [0, 1]", "shards: [0, 1, 2, 3, 4]")  # one job a task
    params.write_text(text)
    assert sum(yaml.safe_load(text)["tasks"][split] for split in ("train", "test")) == 5

    done = project.run(str(ONE_NODE), str(project.root / ".work" / "slurm"), "bash", "-c", RUN, OMP_NUM_THREADS="1")
    said = done.stdout + done.stderr
    submitted = re.findall(r"submitted with SLURM jobid \d+ \(log: .*?/rule_(\w+)/", said)
    # Five tasks of two families, and the one that was cancelled again.
    assert submitted.count("train_behaviour") == 11
    assert {"train_diffusion", "evaluate", "evaluate_baseline", "make_figures"} <= set(submitted)
    assert "make_tables" not in submitted
    assert len(re.findall(r"^Error in rule train_behaviour", said, re.MULTILINE)) == 1

    assert (project.root / "results" / "smoke" / "report.html").exists()
    assert "Nothing to be done" in project.run("snakemake", "--dry-run", "all").stdout
    project.run("dvc", "status", "--quiet")
