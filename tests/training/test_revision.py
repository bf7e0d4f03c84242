"""The revision of the definitions, against a real git."""

import shutil
import subprocess
from pathlib import Path

import pytest

from training.revision import git_revision

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(directory: Path, *words: str) -> str:
    """What git says."""
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(directory), *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_and_whether_it_is_what_lies_there(tmp_path: Path) -> None:
    """None outside a repository and before a commit; the commit; and a mark once the definitions have changed."""
    definitions = tmp_path / "feature_repo"
    definitions.mkdir()
    assert git_revision(definitions) is None
    git(tmp_path, "init", "-q")
    assert git_revision(definitions) is None
    (definitions / "views.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_revision(definitions) == commit
    (tmp_path / "elsewhere").write_text("no definition\n")
    assert git_revision(definitions) == commit
    (definitions / "views.py").write_text("a = 2\n")
    assert git_revision(definitions) == f"{commit}+dirty"
    assert git_revision(tmp_path / "absent") is None
