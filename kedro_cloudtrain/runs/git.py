"""The state of a project's repository, as git has it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from kedro_cloudtrain.runs.record import GitState

if TYPE_CHECKING:
    from pathlib import Path

# A run does not wait longer for it: git looks at every file.
_WITHIN_S = 5.0
# It takes no lock, since another git command may be at work; what is not in the repository does not change it.
_STATUS = ("git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--", ".")


def git_state(project: Path) -> GitState | None:
    """Return the state of the project's repository; None where there is no git, no repository or no commit, or git takes too long."""
    try:
        done = subprocess.run(  # the command is fixed
            _STATUS, cwd=project, capture_output=True, text=True, errors="replace", timeout=_WITHIN_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    headers = dict(line.removeprefix("# branch.").split(" ", 1) for line in lines if line.startswith("# branch."))
    commit = headers.get("oid", "")
    if not commit.isalnum():  # `(initial)`, where nothing is committed yet
        return None
    return GitState(commit=commit, branch=headers.get("head", ""), clean=not any(not line.startswith("#") for line in lines))
