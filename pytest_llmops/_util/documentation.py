"""Where the documentation of the installed version is: its pages, and the skill for coding agents."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
TROUBLESHOOTING = "troubleshooting.md"


def find_docs_folder() -> Path:
    """Return the folder of the documentation's pages: in the installed package, or in the checkout of an editable installation.

    >>> (find_docs_folder() / "troubleshooting.md").is_file()
    True
    """
    installed = PACKAGE / "docs"
    if installed.is_dir():
        return installed
    return PACKAGE.parent / "docs"


def find_skill() -> Path:
    """Return the skill for coding agents, a file in the format of Agent Skills.

    >>> find_skill().is_file()
    True
    """
    return PACKAGE / ".agents" / "skills" / "pytest-llmops" / "SKILL.md"
