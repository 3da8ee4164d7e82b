"""The commit that a page names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from metadiffuser.reporting import provenance


class TestCommit:
    def git(self, root: Path, *arguments: str) -> str:
        command = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def test_unknown_outside_a_checkout(self, tmp_path: Path) -> None:
        assert provenance.commit(tmp_path) == "unknown"

    def test_unknown_in_a_folder_of_another_checkout(self, tmp_path: Path) -> None:
        self.git(tmp_path, "init", "--quiet")
        self.git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "first")
        (tmp_path / "below").mkdir()
        assert provenance.commit(tmp_path / "below") == "unknown"

    def test_unknown_without_git(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert provenance.commit(tmp_path) == "unknown"

    def test_the_commit_and_whether_code_differs_from_it(self, tmp_path: Path) -> None:
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "code.py").write_text("a = 1\n", encoding="utf-8")
        self.git(tmp_path, "init", "--quiet")
        self.git(tmp_path, "add", "src")
        self.git(tmp_path, "commit", "--quiet", "-m", "first")
        (tmp_path / "results").mkdir()
        head = self.git(tmp_path, "rev-parse", "HEAD")
        assert provenance.commit(tmp_path) == head
        (tmp_path / "src" / "code.py").write_text("a = 2\n", encoding="utf-8")
        assert provenance.commit(tmp_path) == f"{head} with local changes"

    def test_parameters_that_differ_from_the_commit_are_said(self, tmp_path: Path) -> None:
        (tmp_path / "params.yaml").write_text("seed: 0\n", encoding="utf-8")
        self.git(tmp_path, "init", "--quiet")
        self.git(tmp_path, "add", "params.yaml")
        self.git(tmp_path, "commit", "--quiet", "-m", "first")
        assert not provenance.commit(tmp_path).endswith("changes")
        (tmp_path / "params.yaml").write_text("seed: 1\n", encoding="utf-8")
        assert provenance.commit(tmp_path).endswith(" with local changes")
