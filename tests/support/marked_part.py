"""The part of a page that tests write: it is between two comments, and the rest of the page is written by people."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock


@dataclass(frozen=True)
class MarkedPart:
    """A part of a page.

    Attributes:
        page: The file.
        start: The line before the part, a comment.
        end: The line after it.
    """

    page: Path
    start: str
    end: str

    def read(self) -> str:
        """Return the part as it is stored, without white space around it."""
        return self._split()[1]

    def fill(self, text: str) -> str:
        """Return the whole page with this text as the part."""
        before, _, after = self._split()
        return f"{before}{self.start}\n\n{text}\n\n{self.end}{after}"

    def write(self, make_text: Callable[[], str]) -> None:
        """Write the part; other processes may write to the page at the same time, so its text is made under a lock."""
        with FileLock(Path(tempfile.gettempdir()) / f"{self.page.name}.lock"):
            self.page.write_text(self.fill(make_text()), encoding="utf-8", newline="\n")

    def _split(self) -> tuple[str, str, str]:
        text = self.page.read_text(encoding="utf-8")
        if text.count(self.start) != 1 or text.count(self.end) != 1:
            raise AssertionError(
                f"{self.page.name}: expected the lines {self.start} and {self.end}, each once, where the part goes"
            )
        before, _, rest = text.partition(self.start)
        part, _, after = rest.partition(self.end)
        return before, part.strip(), after
