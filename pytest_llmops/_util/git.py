"""Run git."""

import subprocess
from pathlib import Path

GIT_TIMEOUT_S = 30


def run_git(root: Path, *arguments: str) -> bytes | str:
    """Return what git prints, or why it failed."""
    try:
        done = subprocess.run(  # noqa: S603 -- arguments are a list, and no name becomes an option
            ["git", "-C", str(root), *arguments],  # noqa: S607 -- git of the user's PATH
            capture_output=True,
            check=False,
            timeout=GIT_TIMEOUT_S,
        )
    except FileNotFoundError:
        return "no such file, and git is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"git failed: {error}"
    return (
        done.stdout
        if done.returncode == 0
        else done.stderr.decode("utf-8", "replace").strip() or "git failed"
    )
