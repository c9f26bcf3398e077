"""One cassette file: reading, the journal that makes paid answers safe, and the locked merge.

An answer is appended to the journal of its process, on disk, before its caller goes on.
Closing merges the journal into the file under a lock and replaces the file in one step;
a journal whose process is gone is merged by the next one that opens the cassette.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes.redact import Redactor
from pytest_llmops.errors import CassetteError

FORMAT = 1


@dataclass(slots=True)
class Interaction:
    """One question with its answers: a list for each take, in the order they were given."""

    by: str
    key: str
    request: dict[str, Any]
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """Return what the file holds."""
        takes = sorted(self.answers.items(), key=lambda take: int(take[0]))
        return {"by": self.by, "key": self.key, "request": self.request, "answers": dict(takes)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal: the n-th answer of a take to a question."""

    by: str
    key: str
    take: str
    n: int
    request: dict[str, Any]
    answer: dict[str, Any]

    def to_line(self) -> bytes:
        """Return the line, with its end."""
        wire = {
            "by": self.by,
            "key": self.key,
            "take": self.take,
            "n": self.n,
            "request": self.request,
            "answer": self.answer,
        }
        return json.dumps(wire, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def load(path: Path) -> dict[str, Interaction]:
    """Read a cassette file into interactions by key; a file that is not there is empty.

    Raises:
        CassetteError: It cannot be read; the file is left as it is.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CassetteError(f"cassette {path}: cannot be read: {error}; check its permissions") from None
    return parse(text, path)


def parse(data: bytes, path: Path) -> dict[str, Interaction]:
    """Read the bytes of a cassette file.

    Raises:
        CassetteError: They are no cassette of this format.
    """
    if b"<<<<<<< " in data and b"\n>>>>>>> " in data:
        raise _damaged(
            path, "expected JSON, got merge-conflict markers", "resolve the conflict, or check out one side"
        )
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(
            path, f"expected JSON, got none: {error}", "restore it from git, or delete it and record again"
        ) from None
    version = document.get("format") if isinstance(document, dict) else None
    if version != FORMAT:
        raise _damaged(
            path, f"expected format {FORMAT}, got {version!r}", "record it again with --llm-record=all"
        )
    try:
        return {one["key"]: _interaction(one) for one in document["interactions"]}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(
            path,
            f"an interaction is incomplete ({type(error).__name__}: {error})",
            "restore it from git, or record again",
        ) from None


def _damaged(path: Path, what: str, step: str) -> CassetteError:
    return CassetteError(f"cassette {path} is damaged: {what}; the file was left as it is: {step}")


def _interaction(wire: Mapping[str, Any]) -> Interaction:
    answers = {str(int(take)): list(listed) for take, listed in wire["answers"].items()}
    for listed in answers.values():
        for answer in listed:
            int(answer["status"])
            answer["body"].keys()
    return Interaction(str(wire["by"]), str(wire["key"]), dict(wire["request"]), answers)


def dump(interactions: Iterable[Interaction], recorded: str) -> str:
    """Return the text of a cassette file, ordered by test and place, not by key."""
    ordered = sorted(interactions, key=lambda one: (one.by, one.key))
    document = {"format": FORMAT, "recorded": recorded, "interactions": [one.to_wire() for one in ordered]}
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def recorded_on(path: Path) -> str:
    """Return the day a cassette was last written, as the file tells it; empty if it does not."""
    with contextlib.suppress(OSError, ValueError):
        head = path.open("rb").read(200).decode("utf-8", "replace")
        _, found, rest = head.partition('"recorded": "')
        return rest[:10] if found else ""
    return ""


class Journal:
    """Answers of one process to one cassette that are not merged yet; opened at the first one."""

    def __init__(self, cassette: Path) -> None:
        self.cassette = cassette
        self.path: Path | None = None
        self._fd = -1

    def append(self, entry: Entry) -> None:
        """Put an answer on disk before its caller goes on.

        Raises:
            CassetteError: The disk is full or the folder cannot be written.
        """
        try:
            if self.path is None:
                self._open()
            os.write(self._fd, entry.to_line())
            os.fsync(self._fd)
        except OSError as error:
            raise CassetteError(
                f"cassette {self.cassette}: an answer could not be written: {error}; free the disk or make the folder writable"
            ) from None

    def _open(self) -> None:
        self.cassette.parent.mkdir(parents=True, exist_ok=True)
        name = f".{self.cassette.name}.{_host()}-{os.getpid()}-{secrets.token_hex(3)}.journal"
        self.path = self.cassette.parent / name
        self._fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o644)

    def close(self) -> None:
        """Close the file; it stays on disk until `merge` has taken it in."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def left_behind(cassette: Path) -> list[Path]:
    """Return journals of this cassette whose process is gone."""
    found = []
    with contextlib.suppress(OSError):
        prefix = f".{cassette.name}."
        for one in os.scandir(cassette.parent):
            if one.name.startswith(prefix) and one.name.endswith(".journal"):
                host, pid, _ = one.name[len(prefix) : -len(".journal")].split("-", 2)
                if host == _host() and not _owned(Path(one.path), int(pid)):
                    found.append(Path(one.path))
    return sorted(found)


def _owned(journal: Path, pid: int) -> bool:
    """Say whether the process that writes this journal still runs."""
    if pid == os.getpid():
        return True
    try:
        if sys.platform == "win32":
            journal.rename(journal)  # refused while somebody has it open; os.kill would end the process there
        else:
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return sys.platform != "win32"


def entries(journal: Path) -> Iterator[Entry]:
    """Read a journal; a last line that was cut by a crash is left out, its answer never reached the caller."""
    for line in journal.read_bytes().splitlines():
        try:
            yield Entry(**json.loads(line))
        except (ValueError, TypeError):
            continue


def apply(interactions: dict[str, Interaction], found: Iterable[Entry], *, replace: bool) -> None:
    """Put journal entries into interactions: the first answer for a place stays, unless they replace it."""
    for entry in found:
        one = interactions.setdefault(entry.key, Interaction(entry.by, entry.key, entry.request))
        one.by = entry.by if replace else min(one.by, entry.by)
        listed = one.answers.setdefault(entry.take, [])
        if entry.n < len(listed):
            if replace:
                listed[entry.n] = entry.answer
        else:
            listed.append(entry.answer)


def merge(
    cassette: Path,
    journals: Iterable[Path],
    redactor: Redactor,
    *,
    replace: bool,
    keep: frozenset[str] | None = None,
) -> None:
    """Merge journals into the cassette and remove them.

    Args:
        cassette: The file; made if it is not there.
        journals: What to take in.
        redactor: Knows the secrets: a file that still holds one is refused.
        replace: Answers of the journals replace those of the file.
        keep: Keys to keep; None keeps all.

    Raises:
        CassetteError: The file is damaged, a secret would be written, or the disk refuses; the old file and
            the journals are left as they are.
    """
    taken = list(journals)
    with _locked(cassette):
        interactions = load(cassette)
        for journal in taken:
            apply(interactions, entries(journal), replace=replace)
        kept = [one for one in interactions.values() if keep is None or one.key in keep]
        text = dump(kept, datetime.now(UTC).date().isoformat())
        if redactor.leaks(text.encode("utf-8", "backslashreplace")):
            raise CassetteError(
                f"cassette {cassette}: not written, a secret is still in it; add a pytest_llmops_redactors hook that masks it"
                f" (the answers wait in {', '.join(str(one) for one in taken)})"
            )
        _replace(cassette, text)
        for journal in taken:
            journal.unlink(missing_ok=True)


def _replace(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise CassetteError(
            f"cassette {path}: cannot be written: {error}; the answers wait in its journal"
        ) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise CassetteError(
            f"cassette {path}: cannot be written: {error}; the answers wait in its journal"
        ) from None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    from filelock import FileLock

    # Locks live outside the project: a lock file beside every cassette would end up in git.
    folder = (
        Path(tempfile.gettempdir()) / f"pytest-llmops-locks-{os.getuid() if hasattr(os, 'getuid') else 0}"
    )
    folder.mkdir(mode=0o700, exist_ok=True)
    name = hashlib.sha256(str(path.absolute()).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    with FileLock(folder / f"{name}.lock"):
        yield
