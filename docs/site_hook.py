"""What "make docs" does with links that lead out of docs/.

The pages link to source files, tables and pictures by their path in the repository. On the site such a link leads to

- the entry of the module in the Python API, if the file is a module of the package,
- a copy of the file below ``repository/``, if it is any other file of the repository. A Markdown file becomes a page,
  and its own links are followed as well.

Called by MkDocs (https://www.mkdocs.org/dev-guide/plugins/#events); see ``hooks`` in mkdocs.yml.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs"
COPIES = "repository"  # folder of the site that holds files from outside docs/
PACKAGE = "src/metadiffuser/"
SHARED_PAGE = "shared"  # page of the API that has the modules at the package's root
LINK = re.compile(r"(?P<head>\]\(|<img src=\")(?P<target>[^)\s\"]+)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def outside(page: str, target: str) -> tuple[str, str] | None:
    """Return (path in the repository, fragment) of a link of ``page``, or none if it needs no change.

    Args:
        page: path of the page in the repository.
        target: what stands in the link.
    """
    if re.match(r"[a-z]+:|#|/", target):
        return None
    name, _, fragment = unquote(target).partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), name))
    within = path.startswith(f"{DOCS}/") and page.startswith(f"{DOCS}/")
    return None if within else (path, fragment)


def place(path: str, fragment: str) -> str:
    """Return the place on the site, with its fragment, of a file of the repository."""
    anchor = f"#{fragment}" if fragment else ""
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/") + anchor
    if path.startswith(PACKAGE) and path.endswith(".py"):
        parts = path.removeprefix(PACKAGE).removesuffix(".py").removesuffix("/__init__").split("/")
        page = parts[0] if (ROOT / PACKAGE / parts[0]).is_dir() else SHARED_PAGE
        return f"api/{page}.md#{'.'.join(['metadiffuser', *parts])}"
    return f"{COPIES}/{path}{anchor}"


def links(text: str) -> Iterator[str]:
    """Return the targets of the links of a page, code blocks left out."""
    for match in LINK.finditer(FENCE.sub("", text)):
        yield match["target"]


def source(page: Page) -> str:
    """Return the path of a page in the repository."""
    uri = page.file.src_uri
    return uri.removeprefix(f"{COPIES}/") if uri.startswith(f"{COPIES}/") else f"{DOCS}/{uri}"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/ that pages link to, and those that the added pages link to."""
    pages = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    added = set()
    while pages:
        page = pages.pop()
        for target in links((ROOT / page).read_text(encoding="utf-8")):
            found = outside(page, target)
            if found is None or not place(*found).startswith(f"{COPIES}/") or found[0] in added:
                continue
            path = found[0]
            if not (ROOT / path).is_file():
                continue  # MkDocs warns of the link, and in strict mode ends with an error
            added.add(path)
            files.append(File.generated(config, f"{COPIES}/{path}", abs_src_path=str(ROOT / path)))
            if path.endswith(".md"):
                pages.append(path)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page's text with the links out of docs/ changed to places on the site."""
    own = source(page)
    folder = posixpath.dirname(page.file.src_uri)

    def changed(match: re.Match[str]) -> str:
        found = outside(own, match["target"])
        if found is None:
            return match[0]
        path, _, fragment = place(*found).partition("#")
        relative = quote(posixpath.relpath(path, folder or "."))
        return f"{match['head']}{relative}{'#' + fragment if fragment else ''}"

    parts, at = [], 0
    for block in FENCE.finditer(markdown):
        parts += [LINK.sub(changed, markdown[at : block.start()]), block[0]]
        at = block.end()
    return "".join([*parts, LINK.sub(changed, markdown[at:])])
