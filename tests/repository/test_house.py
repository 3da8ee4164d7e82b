"""The files around the package agree with it and with each other."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import metadiffuser
from metadiffuser import paths
from metadiffuser.envs.shared import gl
from metadiffuser.pipeline.dag import STAGES
from tests.conftest import ROOT

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENTS = [
    Requirement(text)
    for group in (
        PYPROJECT["project"]["dependencies"],
        *(
            needed
            for extra, needed in PYPROJECT["project"]["optional-dependencies"].items()
            # Others to compare with, and what clouds need: no part of what is tested everywhere and pinned.
            if extra not in ("benchmarks", "kubernetes", "aws")
        ),
    )
    for text in group
    if Requirement(text).name != "metadiffuser"  # an extra that another one includes
]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SNIPPETS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{index}")
    for page in PAGES
    for index, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S))
]


def constraints() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(number) for name, number in pairs}


def prose(page: Path) -> str:
    """The text of a page without its code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return text.replace("`", "")


def anchors(page: Path) -> set[str]:
    """The fragments that headings of a page answer to."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    declared = PYPROJECT["project"]["version"]
    assert metadiffuser.__version__ == declared
    assert citation["version"] == declared
    assert version("metadiffuser") == declared, "reinstall: pip install -e ."


def test_citation_names_the_paper() -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["preferred-citation"]
    assert paper["title"] == "MetaDiffuser: Diffusion Model as Conditional Planner for Offline Meta-RL"
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Ni", "Hao", "Mu", "Yuan", "Zheng", "Wang", "Liang"]
    assert (paper["volume"], paper["start"], paper["end"]) == (202, 26087, 26105)


def test_constraints_are_names_and_exact_public_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wrong = [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)]
    assert wrong == []
    assert len(constraints()) == sum(not line.startswith("#") for line in lines), "a package stands twice"


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_constraints_satisfy_every_requirement(requirement: Requirement) -> None:
    pinned = constraints().get(canonicalize_name(requirement.name))
    assert pinned is not None, f"{requirement.name} is not in constraints.txt; run 'make constraints'"
    assert pinned in requirement.specifier
    assert requirement.specifier, f"{requirement.name} has no range in pyproject.toml"


def test_every_imported_distribution_is_required() -> None:
    from importlib.metadata import packages_distributions

    provided = packages_distributions()
    modules = {
        match.split(".")[0]
        for path in SOURCES
        for match in re.findall(r"^\s*(?:from|import) ([\w.]+)", path.read_text(encoding="utf-8"), re.M)
    }
    foreign = modules - set(sys.stdlib_module_names) - {"metadiffuser", "__future__"}
    required = {canonicalize_name(Requirement(text).name) for text in PYPROJECT["project"]["dependencies"]}
    missing = {
        module for module in foreign & set(provided) if not required & {canonicalize_name(d) for d in provided[module]}
    }
    assert foreign >= {"torch", "yaml", "mujoco"}
    assert missing == set()


def test_files_that_hold_times_are_declared_for_readers() -> None:
    page = (ROOT / "docs" / "reproducibility.md").read_text(encoding="utf-8")
    declared = re.findall(r"^\| `(results/[^`]+)` \|", page, re.M)
    assert declared == [path.replace("{preset}", "<preset>").replace("{job}", "*") for path in paths.VOLATILE]


@pytest.mark.parametrize("code", SNIPPETS)
@pytest.mark.slow
def test_snippets_run(code: str, tmp_path: Path) -> None:
    if "env.render()" in code and gl.backend() is None:
        assert os.environ.get("CI") != "true", gl.REMEDY
        pytest.skip(gl.REMEDY)
    made = "artifacts/" in code
    if made and not (ROOT / "artifacts" / "quick").is_dir():
        pytest.skip("it reads what 'make reproduce' makes")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT if made else tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_there_are_snippets() -> None:
    assert any(str(snippet.id).startswith("README.md") for snippet in SNIPPETS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = unquote(target).partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (fragment and fragment not in anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "methods").glob("*.md")), ids=lambda page: page.stem)
def test_names_beside_the_equations_exist(page: Path) -> None:
    rows = re.findall(r"^\| .* \| \[.*\]\((.*\.py)\) \| (.*) \|$", page.read_text(encoding="utf-8"), re.M)
    assert len(rows) >= 5
    missing = [
        f"{path}: {name}"
        for path, names in rows
        for name in re.findall(r"`(\w+)`", names)
        if not re.search(rf"^\s*(?:def|class) {name}\b", (page.parent / path).read_text(encoding="utf-8"), re.M)
    ]
    assert missing == []


def test_functions_of_the_statistics_table_exist() -> None:
    page = (ROOT / "docs" / "methods" / "metadiffuser.md").read_text(encoding="utf-8")
    section = page.partition("### Statistics")[2].partition("\n### ")[0]
    cells = re.findall(r"^\| [^|]* \| [^|]* \| (.*) \|$", section, re.M)[1:]
    names = {name for cell in cells for name in re.findall(r"`(?:[A-Z]\w*\.)?(\w+)`", cell)}
    package = ROOT / "src" / "metadiffuser"
    sources = [package / "evaluation" / "statistics.py", package / "reporting" / "summary.py"]
    defined = {name for path in sources for name in re.findall(r"def (\w+)", path.read_text(encoding="utf-8"))}
    assert "holm" in names
    assert names <= defined


def test_commands_of_the_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    mentioned = {
        name for text in texts for name in re.findall(r"(?:`|^)make ([a-z-]+)\b(?=[^`\n]*(?:`|$))", text, re.M)
    }
    assert {"reproduce", "test", "check", "docs", "help", "readme", "report"} <= mentioned <= targets
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
    assert phony is not None
    assert set(phony[1].split()) == targets


def test_verbs_in_the_documentation_parse() -> None:
    from metadiffuser.cli import _parser

    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    verbs = {"use", "view", "import", "export", "tune", "verify", "estimate", "gc", "publish", "evaluate", "across"}
    shown = rf"metadiffuser ((?:{'|'.join(sorted(verbs))}) [^`#&\n]+)"
    commands = [match for text in texts for match in re.findall(shown, text)]
    assert {command.split()[0] for command in commands} == verbs
    for command in commands:
        if not re.search("STAGE|PRESET", command):  # which stand for any
            _parser().parse_args(command.split())


def test_a_page_lists_every_preset() -> None:
    presets = {path.stem for path in (ROOT / "presets").glob("*.yaml")}
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert presets == set(re.findall(r"^\| `(\w+)` \|", page.partition("## Change")[0], re.M))


def test_a_page_lists_every_stage() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \| ", page, re.M)) == set(STAGES)


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ({"a": "1", "b": "2"}, "page.md: expected the markers <!-- b:begin --> and <!-- b:end --> once"),
        ({}, "page.md: there is nothing to fill the block 'a' with"),
    ],
)
def test_a_block_without_a_marker_and_one_that_nothing_fills_are_named(
    blocks: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    filled = importlib.import_module("blocks").filled
    page = "x\n<!-- a:begin -->\n\n0\n\n<!-- a:end -->\ny\n"
    assert filled(page, {"a": "1"}, "page.md") == page.replace("0", "1")
    with pytest.raises(SystemExit, match=re.escape(said)):
        filled(page, blocks, "page.md")


@pytest.mark.parametrize("script", ["copy_results.py", "write_hyperparameters.py"])
def test_pages_show_the_tables_of_results_and_presets(script: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / script, "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("texts", "words"),
    [(PAGES, r"told|rivals?|anew|senseless"), (SOURCES, r"told(?! apart)|rivals?|senseless|spoilt|receipts?")],
    ids=["pages", "sources"],
)
def test_texts_use_the_words_of_the_field(texts: list[Path], words: str) -> None:
    ours = re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    found = {
        f"{text.relative_to(ROOT)}: {match[0]}"
        for text in texts
        if text != Path(__file__)
        for match in ours.finditer(text.read_text("utf-8"))
    }
    assert found == set()


def test_deviations_are_numbered_without_gaps() -> None:
    numbers = re.findall(r"^(\d+)\. ", (ROOT / "docs/deviations.md").read_text(encoding="utf-8"), re.M)
    assert [int(number) for number in numbers] == list(range(1, len(numbers) + 1))


def test_cited_deviations_exist() -> None:
    count = len(re.findall(r"^\d+\. ", (ROOT / "docs/deviations.md").read_text(encoding="utf-8"), re.M))
    texts = [path.read_text(encoding="utf-8") for path in SOURCES]
    cited = {
        int(number) for text in texts for number in re.findall(r"deviations?(?:\.md)?[,:]? (?:number )?(\d+)", text)
    }
    assert cited <= set(range(1, count + 1))
