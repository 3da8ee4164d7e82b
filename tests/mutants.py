"""Whether the tests notice careless edits: each of ``mutants.toml`` is made in a scratch copy and the tests are run.

``make mutants`` tries all of them that have no result yet, ``python -m tests.mutants 3 17`` those of these numbers. A
result is kept in ``.work/mutants.json`` as long as the mutated file and the tests are the same, so a run that was
stopped continues. The table in ``tests/README.md`` is written at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "tests" / "mutants.toml"
PAGE = ROOT / "tests" / "README.md"
RESULTS = ROOT / ".work" / "mutants.json"
PACKAGE = Path("src") / "metadiffuser"
SHARED = ("conftest.py", "helpers")  # what all tests use, below tests/
FIRST = 17  # of the list, which are survivors of the first round
LONGEST = 1800  # seconds; tests that take longer have found an endless loop
BEGIN, END = "<!-- mutants: begin -->", "<!-- mutants: end -->"
NAMED = ("-c", "user.name=test", "-c", "user.email=test@example.org")


@dataclass(frozen=True)
class Mutant:
    """One edit.

    Attributes:
        file: below the package.
        find: text that the file holds exactly once.
        replace: what takes its place.
        tests: below ``tests/``: those that should fail on it.
        unseen: what it would do if nobody noticed.
    """

    file: str
    find: str
    replace: str
    tests: tuple[str, ...]
    unseen: str

    @property
    def path(self) -> Path:
        """The file, below the project's root."""
        return PACKAGE / self.file

    def applied(self, text: str) -> str:
        """Return the file's text with the edit in it. Raises ``ValueError`` unless its place is found exactly once."""
        count = text.count(self.find)
        if count != 1:
            raise ValueError(f"{self.path}: expected {self.find!r} once, found it {count} times")
        return text.replace(self.find, self.replace)

    def key(self) -> str:
        """Return a hash of the edit, the file and the tests: a result holds as long as none of them changes."""
        state = hashlib.blake2b(repr(self).encode(), digest_size=8)
        for root in (
            ROOT / self.path,
            *(ROOT / "tests" / name for name in (*(t.partition("::")[0] for t in self.tests), *SHARED)),
        ):
            for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
                state.update(path.read_bytes())
        return state.hexdigest()


def read_list() -> list[Mutant]:
    """Return all mutants, in order."""
    records = tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(**record | {"tests": tuple(record["tests"])}) for record in records]


def copy_tracked(target: Path) -> None:
    """Copy what git would commit to ``target``, but for the results, compile it and commit it there."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listing.split("\0")):
        source = ROOT / name
        if (source.is_file() or source.is_symlink()) and not name.startswith("results/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
    # Compiled once, and checked by their contents: the times of a file that is edited and put back tell nothing.
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "src"]
    subprocess.run(command, cwd=target, check=True)
    for command in (["init", "--quiet"], ["add", "--all"], [*NAMED, "commit", "--quiet", "--message", "copy"]):
        subprocess.run(["git", *command], cwd=target, check=True)


def run_tests(copy: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests, named below ``tests/``, in the copy; the first failure ends them."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}"}
    return subprocess.run(
        [*command, *(f"tests/{name}" for name in tests)],
        cwd=copy,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
        timeout=LONGEST,
    )


def attempt(copy: Path, mutant: Mutant) -> dict[str, object]:
    """Make one edit in the copy, run its tests and undo it; return what came of it.

    Raises:
        RuntimeError: pytest itself failed, so nothing is known.
    """
    path = copy / mutant.path
    before = path.read_text(encoding="utf-8")
    began = time.monotonic()
    try:
        path.write_text(mutant.applied(before), encoding="utf-8")
        done = run_tests(copy, mutant.tests)
    except subprocess.TimeoutExpired:
        return {"caught": True, "seconds": LONGEST, "by": "no end"}
    finally:
        path.write_text(before, encoding="utf-8")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1) or bool(done.returncode) != bool(failed):
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    seconds = round(time.monotonic() - began)
    return {"caught": done.returncode == 1, "seconds": seconds, "by": failed[1] if failed else ""}


def check_clean(copy: Path, mutant: Mutant, passed: set[str]) -> None:
    """Run the tests of a mutant without its edit, but for those that have ``passed``: else they would catch anything.

    Raises:
        SystemExit: a test fails.
    """
    left = [name for name in mutant.tests if name not in passed]
    if not left:
        return
    done = run_tests(copy, left)
    if done.returncode != 0:
        sys.exit(f"the tests fail without any edit:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    passed.update(left)


def known() -> dict[str, dict[str, object]]:
    """Return the results that are kept, by ``Mutant.key``."""
    return dict(json.loads(RESULTS.read_text(encoding="utf-8"))) if RESULTS.is_file() else {}


def keep(results: Mapping[str, dict[str, object]]) -> None:
    """Write the results, whole or not at all."""
    RESULTS.parent.mkdir(exist_ok=True)
    part = RESULTS.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(RESULTS)


def table(mutants: Sequence[Mutant], results: Mapping[str, dict[str, object]]) -> str:
    """Return the rate and the table of all mutants, in Markdown."""
    found = [results.get(mutant.key()) for mutant in mutants]
    tried = [result for result in found if result is not None]
    caught = sum(bool(result["caught"]) for result in tried)
    rate = f"{caught / len(tried):.0%}" if tried else "-"
    lines = [
        f"{caught} of {len(tried)} tried are caught ({rate}); {len(mutants)} are listed. The first {FIRST} survived an "
        "earlier round. Tests were added for edits that survived, so this is not the rate of a first try.",
        "",
        "| | file | what it would do unseen | result | seconds |",
        "|--:|:--|:--|:--|--:|",
    ]
    for number, (mutant, result) in enumerate(zip(mutants, found, strict=True), start=1):
        word = "not tried" if result is None else "caught" if result["caught"] else "**survived**"
        seconds = "" if result is None else result["seconds"]
        lines.append(f"| {number} | `{mutant.file}` | {mutant.unseen} | {word} | {seconds} |")
    return "\n".join(lines)


def write_table(mutants: Sequence[Mutant], results: Mapping[str, dict[str, object]]) -> None:
    """Write the table between the marks in ``tests/README.md``."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(mutants, results)}\n{END}{after}", encoding="utf-8")


def main(words: Sequence[str]) -> int:
    """Try the mutants of the given numbers, or all; return 1 if one of them survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="See whether the tests notice edits.")
    parser.add_argument("numbers", nargs="*", type=int, help="of edits in tests/mutants.toml (default: all)")
    mutants, results = read_list(), known()
    numbers = parser.parse_args(words).numbers or list(range(1, len(mutants) + 1))
    if not all(1 <= number <= len(mutants) for number in numbers):
        sys.exit(f"expected numbers from 1 to {len(mutants)}, got {' '.join(words)}")
    chosen = {number: mutants[number - 1] for number in numbers}
    left = {number: mutant for number, mutant in chosen.items() if mutant.key() not in results}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        copy_tracked(copy)
        print(f"{len(left)} to try, each after its tests without any edit", flush=True)
        passed: set[str] = set()
        for number, mutant in left.items():
            check_clean(copy, mutant, passed)
            result = attempt(copy, mutant)
            results[mutant.key()] = result
            keep(results)
            word = f"caught by {result['by']}" if result["caught"] else "SURVIVED"
            print(f"{number} {mutant.file}: {word} ({result['seconds']} s)", flush=True)
    write_table(mutants, results)
    survivors = [number for number, mutant in chosen.items() if not results[mutant.key()]["caught"]]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} caught" + (f"; not {survivors}" if survivors else ""))
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
