"""Where the documentation of the installed version is: its pages, and the skill for coding agents."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
MESSAGES = "reference/messages.md"


def find_docs_folder() -> Path:
    """Return the folder of the documentation's pages: in the installed package, or in the checkout of an editable installation.

    >>> (find_docs_folder() / "reference" / "messages.md").is_file()
    True
    """
    installed = PACKAGE / "docs"
    if installed.is_dir():
        return installed
    return PACKAGE.parent / "docs"


def list_pages(folder: Path) -> dict[str, Path]:
    """Return the pages of the documentation by their name, such as ``how-to/faults``, in alphabetical order.

    >>> "reference/messages" in list_pages(find_docs_folder())
    True
    """
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.md"))
    }


def find_skill() -> Path:
    """Return the skill for coding agents, a file in the format of Agent Skills.

    >>> find_skill().is_file()
    True
    """
    return PACKAGE / ".agents" / "skills" / "pytest-llmops" / "SKILL.md"


def remove_comments(text: str) -> str:
    r"""Return the text of a page without its HTML comments; a code block keeps everything.

    The comments of a page hold set-up and answers for the tests of its snippets.

    >>> remove_comments("One.\n\n<!-- exit: 1 -->\n\nTwo.\n")
    'One.\n\nTwo.\n'
    """
    kept: list[str] = []
    fence = ""
    is_comment = False
    for line in text.splitlines():
        stripped = line.strip()
        if fence:
            kept.append(line)
            if stripped == fence:
                fence = ""
            continue
        if is_comment or stripped.startswith("<!--"):
            is_comment = "-->" not in stripped
            stripped = ""
        if stripped:
            kept.append(line)
        elif kept and kept[-1]:
            kept.append("")
        ticks = re.match(r"`{3,}", stripped)
        if ticks is not None:
            fence = ticks[0]
    return "\n".join(kept).strip("\n") + "\n"
