"""The documentation as a site: whole, offline, every link checked; and the moving picture of the README."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import ROOT, require

DOCS = ROOT / "docs"
MOST_BYTES = 2 * 10**6  # of the moving picture
REASON = "it builds the site; install the project with its dev extra"


def script(name: str) -> ModuleType:
    """A file of docs/, imported."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(root: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a checkout as ``make docs`` does."""
    require("mkdocs", REASON)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    done = build(ROOT, target)
    assert done.returncode == 0, done.stderr
    return target


class Targets(HTMLParser):
    """What a page links to, and what a browser fetches for it."""

    def __init__(self, text: str):
        super().__init__()
        self.linked: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        targets = {value for name, value in attrs if name in ("href", "src", "srcset", "poster") and value}
        (self.linked if tag == "a" else self.fetched).update(targets)


@pytest.fixture(scope="module")
def targets(site: Path) -> dict[Path, Targets]:
    pages = sorted(set(site.rglob("*.html")) - {site / "404.html"})  # which a server shows, with paths of its own
    return {page: Targets(page.read_text("utf-8")) for page in pages}


@pytest.mark.slow
def test_no_page_of_the_site_fetches_anything_from_elsewhere(site: Path, targets: dict[Path, Targets]) -> None:
    fetched = set().union(*(page.fetched for page in targets.values()))
    assert len(targets) > 30
    assert fetched
    assert {target for target in fetched if re.match(r"([a-z]+:)?//", target)} == set()
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*", styles) == []


@pytest.mark.slow
def test_every_link_of_the_site_leads_to_a_file(site: Path, targets: dict[Path, Targets]) -> None:
    broken = {
        f"{page.relative_to(site)}: {target}"
        for page, found in targets.items()
        for target in found.linked | found.fetched
        if not re.match(r"[a-z]+:|#", target) and not (page.parent / unquote(urlsplit(target).path)).is_file()
    }
    assert broken == set()


@pytest.mark.slow
def test_the_site_has_every_page_and_every_module(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert {page for page in pages if not (site / page).is_file()} == set()
    entries = "".join(path.read_text("utf-8") for path in (site / "api").glob("*.html"))
    package = ROOT / "src" / "metadiffuser"
    modules = {
        ".".join(["metadiffuser", *path.relative_to(package).with_suffix("").parts]).removesuffix(".__init__")
        for path in package.rglob("*.py")
    }
    assert {name for name in modules - {"metadiffuser"} if f'id="{name}"' not in entries} == set()


@pytest.mark.slow
def test_a_broken_link_stops_the_build(tmp_path: Path) -> None:
    config = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), yaml.BaseLoader)
    plain = {key: config[key] for key in ("site_name", "hooks", "validation")}
    (tmp_path / "docs").mkdir()
    shutil.copy(DOCS / "site_hook.py", tmp_path / "docs")
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(plain | {"exclude_docs": "*.py"}), encoding="utf-8")
    (tmp_path / "src.txt").write_text("text\n", encoding="utf-8")
    page = tmp_path / "docs" / "index.md"
    page.write_text("# Page\n\n[file](../src.txt)\n", encoding="utf-8")
    assert build(tmp_path, tmp_path / "site").returncode == 0
    assert (tmp_path / "site" / "repository" / "src.txt").read_text("utf-8") == "text\n"
    for link in ("../missing.txt", "missing.md", "#missing"):
        page.write_text(f"# Page\n\n[file]({link})\n", encoding="utf-8")
        done = build(tmp_path, tmp_path / "site")
        assert done.returncode != 0, link
        assert "missing" in done.stderr + done.stdout


def test_links_out_of_docs_lead_to_the_api_or_to_a_copy() -> None:
    require("mkdocs", REASON)
    hook = script("site_hook")
    module = hook.outside("docs/methods/bc.md", "../../src/metadiffuser/baselines/bc.py")
    assert hook.place(*module) == "api/baselines.md#metadiffuser.baselines.bc"
    assert hook.place("src/metadiffuser/paths.py", "") == "api/shared.md#metadiffuser.paths"
    assert hook.place("src/metadiffuser/envs/__init__.py", "") == "api/envs.md#metadiffuser.envs"
    assert hook.outside("docs/index.md", "../README.md#run-it") == ("README.md", "run-it")
    assert hook.place("README.md", "run-it") == "repository/README.md#run-it"
    assert hook.place(*hook.outside("README.md", "docs/data.md")) == "data.md"
    for inside in ("data.md", "#part", "https://example.org", "methods/bc.md"):
        assert hook.outside("docs/index.md", inside) is None


def test_every_page_is_in_the_navigation() -> None:
    def named(node: object) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        elif isinstance(node, list):
            for each in node:
                yield from named(each)
        elif isinstance(node, dict):
            for each in node.values():
                yield from named(each)

    config = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), yaml.BaseLoader)
    assert set(named(config["nav"])) == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


@pytest.mark.browser
def test_the_site_works_in_a_browser_from_files(site: Path) -> None:
    require("chromium", "the site is opened in it; install the package chromium")
    require("playwright", "it drives the browser; install the project with its dev extra")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        try:
            tab = browser.new_page(viewport={"width": 1300, "height": 900})
            requests: list[str] = []
            messages: list[str] = []
            tab.on("request", lambda request: requests.append(request.url))
            tab.on("console", lambda message: messages.append(message.text))
            tab.on("pageerror", lambda error: messages.append(str(error)))

            tab.goto((site / "index.html").as_uri())
            assert tab.locator("article h1").inner_text().startswith("What would you like to do?")
            tab.locator("article table a", has_text="Results").first.click()
            tab.wait_for_url("**/results.html")
            assert tab.locator("article table").count() >= 4
            assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")

            tab.goto((site / "methods" / "metadiffuser.html").as_uri())
            tab.locator("article a", has_text="planning/planner.py").first.click()
            tab.wait_for_url("**/api/planning.html#metadiffuser.planning.planner")
            entry = tab.locator("[id='metadiffuser.planning.planner.Planner']")
            assert "Planner" in entry.inner_text()

            tab.keyboard.press("/")
            tab.keyboard.type("dual guide")
            tab.wait_for_selector(".md-search-result__item")
            assert tab.locator(".md-search-result a[href*='metadiffuser.planning.guide.DualGuide']").count() > 0

            tab.goto((site / "repository" / "index.html").as_uri())
            tab.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            assert requests
            assert {url for url in requests if not url.startswith(("file:", "data:"))} == set()
            assert messages == []
        finally:
            browser.close()


@pytest.fixture(scope="module")
def animation() -> list[np.ndarray]:
    """The frames of the moving picture."""
    with Image.open(DOCS / "assets" / "animation.webp") as picture:
        frames = []
        for index in range(getattr(picture, "n_frames", 1)):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB"), dtype=float))
    return frames


def test_the_readme_shows_a_small_moving_picture(animation: list[np.ndarray]) -> None:
    path = "docs/assets/animation.webp"
    assert f"]({path})" in (ROOT / "README.md").read_text("utf-8")
    assert (ROOT / path).stat().st_size < MOST_BYTES
    assert len(animation) > 30
    height, width = np.array(animation[0].shape[:2]) // (2, 3)
    for row in range(2):
        for column in range(3):
            tile = np.s_[row * height : (row + 1) * height, column * width : (column + 1) * width]
            moved = np.abs(animation[0][tile] - animation[len(animation) // 3][tile]).mean()
            assert moved > 0.5, f"tile {row}, {column} does not move"


@pytest.mark.slow
def test_the_moving_picture_is_that_of_the_videos(animation: list[np.ndarray]) -> None:
    grid = script("make_animation").grid()
    assert grid.shape == (len(animation), *animation[0].shape)
    error = max(np.abs(frame - shown).mean() for frame, shown in zip(grid, animation, strict=True))
    assert error < 3, "run 'make animation'"
