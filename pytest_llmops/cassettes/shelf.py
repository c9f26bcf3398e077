"""Judges' answers of a run, for the same question elsewhere in it: what one test has paid, no other pays again.

An answer belongs to its question (model, prompt, data and form: all that is sent), to its trial and to its place among
equal questions of one test. So trials stay samples of their own, and a judge that asks the same several times gets
several answers; only another test gets what the first one got. It is put into that test's own cassette, which
answers alone the next time. The shelf ends with the run: a recording that is made again is made anew. A script has
none: who asks there twice wants to be answered twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes import running
from pytest_llmops.cassettes.wire import check_answer
from pytest_llmops.errors import CassetteError

JUDGE = "judge"
"""The purpose of the calls whose answers are shared: what the application asks twice, it is to be seen to ask twice."""

FAILED = 400
"""Statuses from here on are no answers that others could use."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where they lie.

    Args:
        folder: Finds the folder of the run; its processes share it, and nobody else reads it.
    """

    folder: Callable[[], Path] = running.folder

    def get(self, key: str, take: str, n: int) -> dict[str, Any] | None:
        """Return the answer in a cassette's form, without secrets; None: nobody has asked this."""
        with contextlib.suppress(OSError, ValueError, CassetteError, RecursionError):
            found: dict[str, Any] = json.loads(self._path(key, take, n).read_bytes())
            check_answer(found)
            return found
        return None

    def put(self, key: str, take: str, n: int, answer: Mapping[str, Any]) -> None:
        """Keep an answer in a cassette's form; one that cannot be kept is asked for again."""
        data = json.dumps(answer).encode("ascii")
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(dir=self.folder(), prefix="answer.")
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(self._path(key, take, n))

    def _path(self, key: str, take: str, n: int) -> Path:
        return self.folder() / f"answer-{key}-{take}-{n}.json"
