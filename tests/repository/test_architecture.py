"""The import graph: arrows run one way, and the library knows nothing of files, engines and devices in force."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "metadiffuser"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A part imports only from the lines above its own (and from itself).
LAYERS = (
    {"errors"},
    {"artifacts", "paths", "seeding", "progress"},
    {"config"},
    {"checkpointing", "tracking"},
    {"training"},
    {"envs"},
    {"data"},
    {"behaviour", "context", "importing"},
    {"diffusion"},
    {"planning"},
    {"baselines"},
    {"evaluation"},
    {"calibration"},
    {"reporting"},
    {"viewing"},
    {"pretrained"},
    {"pipeline"},
    {"stages"},
    {"tuning"},
    {"cli"},
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
LIBRARY = {
    "envs",
    "data",
    "behaviour",
    "importing",
    "context",
    "diffusion",
    "planning",
    "baselines",
    "evaluation",
    "calibration",
    "reporting",
}
PROJECT = {"paths", "pipeline", "stages", "tuning", "cli"}


def part_of(path: Path) -> str:
    """The top-level module or package below metadiffuser that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """(part, name) of every import from metadiffuser, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "metadiffuser":
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("metadiffuser."):
            yield from (((node.module or "").split(".")[1], alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("metadiffuser.")]
            yield from ((name.split(".")[1], "") for name in names)
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"


def test_every_part_has_its_layer() -> None:
    assert {part_of(path) for path in SOURCES} - {"__init__"} == set(RANK)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_run_one_way(path: Path) -> None:
    own = part_of(path)
    if own == "__init__":  # metadiffuser.load
        assert {part for part, _ in imported(path)} == {"pretrained"}
        return
    upward = {part for part, _ in imported(path) if part != own and RANK[part] >= RANK[own]}
    assert upward == set()


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if part_of(p) in LIBRARY], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_the_library_knows_no_parameter_file_and_no_path_of_the_project(path: Path) -> None:
    found = {part for part, name in imported(path) if part in PROJECT or (part, name) == ("config", "loading")}
    assert found == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "baselines").rglob("*.py")), ids=lambda path: path.name)
def test_baselines_know_neither_the_planner_nor_each_other(path: Path) -> None:
    modules = [
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    ]
    guide = {"metadiffuser.planning.guide"} if path.stem == "cvae_planner" else set()
    planner = {name for name in modules if name.startswith(("metadiffuser.planning", "metadiffuser.diffusion"))}
    assert planner <= guide
    baselines = {name for name in modules if name.startswith("metadiffuser.baselines.")}
    assert all(name.startswith("metadiffuser.baselines.shared.") for name in baselines)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_global_random_generator(path: Path) -> None:
    allowed = {"Generator", "PCG64", "BitGenerator"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"np.random", "numpy.random"}:
            assert node.attr in allowed, f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"torch.manual_seed", "torch.seed"}:
            assert path.name == "seeding.py", f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            assert "random" not in modules, f"line {node.lineno}"
