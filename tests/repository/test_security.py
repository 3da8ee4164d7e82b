"""No source runs or fetches what it reads, nothing that is shown is obeyed, nothing is written outside the project."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metadiffuser import cli
from metadiffuser.artifacts import read_json
from metadiffuser.config.loading import load
from metadiffuser.errors import InputError, one_line
from metadiffuser.pipeline import dag
from tests.conftest import ROOT, put_in_force, whole

PACKAGE = ROOT / "src" / "metadiffuser"
PYTHON = [*PACKAGE.rglob("*.py"), *(ROOT / "docs").glob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
LOADERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "copyreg", "tarfile"}
NETWORK = {"urllib.request", "requests", "httpx", "socket", "http.client", "ftplib", "aiohttp", "xmlrpc"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
}
CALLS |= {"pd.read_pickle", "pandas.read_pickle", "yaml.unsafe_load", "yaml.full_load", "np.fromfile", "runpy.run_path"}
CALLS |= {"shutil.unpack_archive", "Markup", "markupsafe.Markup"}
METHODS = {"extractall", "extract", "unsafe_load"}
SAFE_YAML = {"StrictLoader", "loader"}  # subclasses or instances of a safe loader
# Names of stages, of files of the package, and of installed packages that register a method or a family.
IMPORTED_BY_NAME = {"pipeline/run.py", "config/plugins.py", "envs/shared/gl.py", "reporting/registry.py"}
HDF5 = {
    "data/minari_store.py",
    "importing/layouts/hdf5.py",
    "importing/layouts/minari.py",
    "pipeline/verify.py",
}  # the last opens files and reads nothing of them


def faults(text: str, name: str = "some.py") -> Iterator[str]:
    """What a source file does that could run or fetch what it reads."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = {alias.name for alias in node.names} if isinstance(node, ast.Import) else {node.module or ""}
            found = {module for module in modules if module.split(".")[0] in LOADERS or module in NETWORK}
            yield from (f"{name}:{node.lineno}: imports {module}" for module in found)
        elif isinstance(node, ast.Call):
            yield from (f"{name}:{node.lineno}: {fault}" for fault in _call_faults(node, name))


def _call_faults(node: ast.Call, name: str) -> Iterator[str]:
    called = ast.unparse(node.func)
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if called in CALLS or (isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
        yield called
    if given.get("shell", "False") != "False":
        yield f"{called} with a shell"
    if called in {"np.load", "numpy.load"} and given.get("allow_pickle") != "False":
        yield f"{called} without allow_pickle=False"
    if called == "yaml.load" and given.get("Loader") not in SAFE_YAML:
        yield f"{called} with {given.get('Loader')}"
    if called in {"import_module", "importlib.import_module"} and name not in IMPORTED_BY_NAME:
        yield f"{called} of a name that comes from elsewhere"
    if called == "h5py.File" and name not in HDF5:
        yield f"{called} outside of the readers that follow no links"
    if called.endswith("Environment") and "loader" in given and given.get("autoescape") != "True":
        yield f"{called} without escaping"


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_or_fetches_what_it_reads(path: Path) -> None:
    name = str(path.relative_to(PACKAGE)) if path.is_relative_to(PACKAGE) else str(path.relative_to(ROOT))
    assert list(faults(path.read_text(encoding="utf-8"), name)) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "import urllib.request",
        "torch.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "archive.extractall(folder)",
        "subprocess.run(command, shell=True)",
        "importlib.import_module(name)",
        "h5py.File(path)",
        "Environment(loader=loader)",
        "os.system(command)",
    ],
)
def test_the_search_finds(line: str) -> None:
    assert len(list(faults(line))) == 1


def test_templates_switch_no_escaping_off() -> None:
    texts = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.j2")]
    assert texts
    assert not any(re.search(r"\|\s*safe\b|autoescape|<script", text) for text in texts)


def test_yaml_loaders_build_plain_values_only() -> None:
    import yaml

    from metadiffuser.config.loading import StrictLoader

    assert issubclass(StrictLoader, yaml.SafeLoader)
    assert not [tag for tag in StrictLoader.yaml_constructors if tag and "python" in tag]
    assert "CSafeLoader" in (PACKAGE / "pipeline" / "dvc_lock.py").read_text(encoding="utf-8")


def test_a_name_that_is_shown_gives_no_order_to_the_terminal() -> None:
    assert one_line("a\x1b[2J\r\nmetadiffuser: done\t\u202e") == r"a\x1b[2J metadiffuser: done \u202e"
    assert str(InputError("it's\nthere")) == "it's there"
    with pytest.raises(InputError, match=r"^\S*: damaged"):
        read_json(Path(__file__))


# Hostile names.

NAMES = [
    "../../x",
    "/etc/passwd",
    "a/b",
    "x\ny",
    "x; touch pwned",
    "$(touch pwned)",
    "<b>",
    "..",
    "",
    "%2e%2e",
    "-h",
    "x" * 5000,
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(ROOT / "presets", root / "presets")
    put_in_force(root)
    (tmp_path / "x.yaml").write_bytes((root / "params.yaml").read_bytes())
    monkeypatch.chdir(root)
    return root


def everything(folder: Path) -> set[str]:
    """Every path below a folder, but for the parameters that were read (config/checked.py)."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if ".work" not in path.parts}


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_no_name_leads_out_of_the_project(name: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(project.parent)
    commands = [
        ["use", "--", name],
        ["define_tasks", f"--family={name}"],
        ["train_behaviour", "--family=point_robot", f"--shard={name}"],
        ["train_context", "--family=point_robot", f"--representation={name}", "--seed=0"],
        ["train_baseline", "--family=point_robot", f"--method={name}", "--seed=0"],
        ["import", f"--family={name}", "--from=."],
    ]
    for words in commands:
        assert cli.main(words) == 2, words
        said = capsys.readouterr().err
        assert said.startswith("metadiffuser: ")
        assert said.count("\n") == 1
        assert said[:-1].isprintable()
    for key, value in (
        ("preset: smoke", f"preset: {json.dumps(name)}"),
        ("families: [", f"families: [{json.dumps(name)}, "),
    ):
        text = whole()
        (project / "params.yaml").write_text(text.replace(key, value, 1))
        assert cli.main(["define_tasks", "--family=point_robot"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert everything(project.parent) == before


@pytest.mark.parametrize("name", ["x\n", "Smoke", "smoke\u0301", "con.", "a" * 33, "a-b", "a/../b", " smoke"])
def test_a_preset_names_one_folder(name: str, project: Path) -> None:
    text = whole()
    (project / "params.yaml").write_text(text.replace("preset: smoke", f"preset: {json.dumps(name)}", 1))
    with pytest.raises(InputError, match="'preset' is "):
        load()


def test_no_command_needs_quoting() -> None:
    import shlex

    for preset in ("smoke", "paper"):
        params = load(ROOT / "presets" / f"{preset}.yaml")
        for job in dag.jobs(params):
            assert shlex.split(job.command) == job.command.split()
            assert re.fullmatch(r"[\w -]+", job.command)
            for path in (*job.inputs, *job.outputs):
                assert re.fullmatch(r"(artifacts|results)/[\w./-]+", path)
                assert ".." not in path


@pytest.mark.engine
@pytest.mark.parametrize(
    "target", ["results/../x/report.html", "results/x; touch pwned/report.html", "/tmp/report.html"]
)
def test_snakemake_makes_nothing_that_params_do_not_name(target: str, project: Path) -> None:
    for name in ("Snakefile", "workflow", "src"):
        (project / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores=1", "-n", "--", target],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "METADIFFUSER_SYNC_OFF": "1", "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 1
    assert "MissingRuleException" in done.stdout + done.stderr
    assert not (project / "pwned").exists()


# What is written, and where.

WATCH = """
import os, sys
from pathlib import Path

def watch(event, arguments):
    if event == "open":
        name, mode, flags = arguments
        if set(mode or "") & set("wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR):
            touched.append(name)
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"):
        touched.append(arguments[0])
    elif event in ("os.rename", "os.link", "os.symlink"):
        touched.append(arguments[1])

touched = []
import metadiffuser.cli, metadiffuser.pipeline.run
sys.addaudithook(watch)
code = metadiffuser.cli.main(sys.argv[1:])
for name in sorted({os.path.abspath(os.fsdecode(name)) for name in touched if isinstance(name, (str, bytes))}):
    print(name)
sys.exit(code)
"""


@pytest.mark.parametrize("words", [["define_tasks", "--family=point_robot"], ["use", "quick"]], ids=["stage", "use"])
@pytest.mark.slow
def test_files_are_written_below_the_project_only(words: list[str], project: Path) -> None:
    done = subprocess.run([sys.executable, "-B", "-c", WATCH, *words], capture_output=True, text=True, check=True)
    touched = [Path(line) for line in done.stdout.splitlines() if line.startswith("/")]
    assert any(path.is_relative_to(project) for path in touched)
    assert [path for path in touched if not path.is_relative_to(project) and path != Path(os.devnull)] == []
