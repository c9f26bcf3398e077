from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import (
    MeasurementErrored,
    MeasurementFailed,
    WatchedFolder,
    assert_files,
    soft,
    watch_folder,
)
from pytest_llmops._util import folder_snapshot
from pytest_llmops.errors import UsageError

pytestmark = pytest.mark.usefixtures("alone")
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small project."""
    folder = tmp_path / "repo"
    write(folder, **{"src/app.py": "def f():\n    return 1\n", "src/util.py": "x = 1\n", "old.txt": "bye\n"})
    return folder


def write(folder: Path, **files: str | bytes) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def failure_of(folder: WatchedFolder, **arguments: Any) -> MeasurementFailed:
    with pytest.raises(MeasurementFailed) as caught:
        assert_files(folder, **arguments)
    return caught.value


def lines_of(error: MeasurementFailed, label: str) -> list[str]:
    """The evidence under a label."""
    pairs: Any = error.measurement.detail["evidence"]
    return [text for name, text in pairs if name == label]


def test_what_was_created_changed_and_deleted(root: Path) -> None:
    folder = watch_folder(root)
    write(root, **{"src/app.py": "def f():\n    return 2\n", "report.md": "Done.\n"})
    (root / "old.txt").unlink()
    measurement = assert_files(
        folder, created=["report.md"], changed="src/*.py", deleted="old.txt", label="repo"
    )
    assert (measurement.name, measurement.value, measurement.threshold) == ("files", 1.0, 1.0)
    assert (measurement.version, measurement.label) == ("1", "repo")
    assert measurement.detail == {
        "changes": 3,
        "created": ["report.md"],
        "changed": ["src/app.py"],
        "deleted": ["old.txt"],
    }


def test_a_folder_in_which_nothing_happened(root: Path) -> None:
    folder = watch_folder(str(root))
    (root / "empty").mkdir()
    os.utime(root / "old.txt", (1, 1))
    assert assert_files(folder).status == "passed"
    assert folder.diff() == ""
    assert folder.path == root


def test_a_failure_shows_the_changes_with_their_diffs(
    root: Path,
    well_formed: Callable[[BaseException], list[str]],
    shown_frames: Callable[[BaseException], list[str]],
) -> None:
    folder = watch_folder(root)
    write(root, **{"src/app.py": "def f():\n    return 2\n", "notes.txt": "no line end"})
    (root / "old.txt").unlink()
    error = failure_of(folder, created="report.md", deleted="old.txt")
    well_formed(error)
    check_message(str(error).splitlines())
    assert shown_frames(error) == []
    assert lines_of(error, "diff")[-5:] == [
        "+++ b/src/app.py",
        "@@ -1,2 +1,2 @@",
        " def f():",
        "-    return 1",
        "+    return 2",
    ]


def test_each_missing_change_is_explained(root: Path) -> None:
    write(root, **{"build/out.txt": "x", "docs/a.md": "x"})
    folder = watch_folder(root, ignore="build/")
    write(root, **{"src/report.md": "x", "src/app.py": "", "tests/test_application.py": "x"})
    error = failure_of(
        folder,
        created=["report.md", "src/app.py", "tests/test_aplication.py", "other.md", "build/out.txt"],
        changed=["docs/", "*.toml", "*.py", "src/util.py"],
        deleted="src/**",
        allowed="**",
    )
    check_message(lines_of(error, "missing"))
    assert len(lines_of(error, "missing")) == 10
    assert lines_of(error, "unexpected") == []
    assert lines_of(error, "changes") == [
        "changed src/app.py, created src/report.md, created tests/test_application.py"
    ]


def test_other_changes_may_be_allowed(root: Path) -> None:
    folder = watch_folder(root)
    write(root, **{"src/app.py": "", "log/a/b.txt": "x"})
    assert assert_files(folder, changed="src/app.py", nothing_else=False).value == 1.0
    # With a slash it stands for what is below a folder, and not for a file of that name.
    assert "src/app.py is as it was" not in str(failure_of(folder, changed="src/app.py/", allowed="**"))
    assert assert_files(folder, changed="src/app.py", allowed=["log/", "never.txt"]).value == 1.0
    assert lines_of(failure_of(folder, changed="src/app.py"), "unexpected") == [
        "created log/a/b.txt (1 byte)"
    ]
    # A pattern is about its own kind of change.
    assert lines_of(failure_of(folder, created="**"), "unexpected") == ["changed src/app.py (+0 -2 lines)"]
    with pytest.raises(UsageError, check=check_message):
        assert_files(folder, nothing_else=False, allowed="log/")


def test_a_second_assertion_compares_with_the_start_until_it_is_restarted(root: Path) -> None:
    folder = watch_folder(root)
    write(root, **{"a.txt": "1"})
    assert_files(folder, created="a.txt")
    write(root, **{"a.txt": "2"})
    assert_files(folder, created="a.txt")
    folder.restart()
    assert_files(folder)
    write(root, **{"a.txt": "3"})
    assert_files(folder, changed="a.txt")


def test_names_with_brackets_may_be_written_as_they_are(root: Path) -> None:
    folder = watch_folder(root)
    write(root, **{"app/[id]/page.tsx": "x", "app/i": "x"})
    assert_files(folder, created=["app/[id]", "app/i"])
    assert_files(folder, created=["app/[id]/page.tsx", "app/[[]id]/*.tsx", "app/[id]"])
    assert lines_of(failure_of(folder, created="app/[id]/"), "unexpected") == ["created app/i (1 byte)"]


def test_a_moved_file_is_deleted_and_created(root: Path) -> None:
    folder = watch_folder(root)
    (root / "old.txt").rename(root / "new.txt")
    assert_files(folder, deleted="old.txt", created="new.txt")


def test_it_records_only_and_softly(root: Path) -> None:
    folder = watch_folder(root)
    write(root, **{"a.txt": "1"})
    measurement = assert_files(folder, at_least=None)
    assert (measurement.value, measurement.status) == (0.0, "recorded")
    with pytest.raises(MeasurementFailed, match="2 of 2 checks failed"), soft():
        assert_files(folder, label="first")
        assert_files(folder, deleted="old.txt", label="second")


@posix
def test_links_are_compared_by_where_they_lead(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside", **{"secret.txt": "x"})
    for name, target in {"file": "old.txt", "folder": "../outside", "loop": ".", "broken": "a//b"}.items():
        (root / name).symlink_to(target)
    folder = watch_folder(root)
    write(tmp_path / "outside", **{"secret.txt": "y"})
    assert_files(folder)
    for name in ("file", "broken", "src/util.py"):
        (root / name).unlink()
    (root / "broken").symlink_to("a/b")
    write(root, file="bye\n")
    (root / "src/util.py").symlink_to("app.py")
    error = failure_of(folder, changed=["broken", "file"])
    assert lines_of(error, "unexpected") == ["changed src/util.py (6 bytes -> a link to app.py)"]
    assert "# changed broken (a link to a//b -> a link to a/b)\n" in folder.diff()


@posix
def test_the_executable_bit_counts_and_no_other_permission(root: Path) -> None:
    folder = watch_folder(root)
    (root / "old.txt").chmod(0o600)
    assert_files(folder)
    (root / "old.txt").chmod(0o755)
    write(root, **{"new.sh": "x"})
    (root / "new.sh").chmod(0o755)
    error = failure_of(folder, allowed="never")
    assert lines_of(error, "unexpected") == [
        "created new.sh (1 byte, executable)",
        "changed old.txt (now executable)",
    ]
    error = failure_of(folder, created="new.sh")
    assert lines_of(error, "diff") == []
    write(root, **{"old.txt": "bye bye\n"})
    folder.restart()
    (root / "old.txt").chmod(0o644)
    write(root, **{"old.txt": "bye\n"})
    assert folder.diff().splitlines()[:3] == [
        "# changed old.txt (+1 -1 lines, now not executable)",
        "--- a/old.txt",
        "+++ b/old.txt",
    ]


@posix
def test_pipes_sockets_and_devices_are_not_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe")
    folder = watch_folder(root)
    assert_files(folder)
    monkeypatch.chdir(root)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        (root / "pipe").unlink()
        assert lines_of(failure_of(folder), "unexpected") == [
            "deleted pipe (a pipe)",
            "created socket (a socket)",
        ]
    watched = watch_folder("/dev/pts") if Path("/dev/pts").is_dir() else None
    if watched is not None:
        assert_files(watched)


def test_what_cannot_be_shown_as_a_diff_has_sizes_and_hashes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_snapshot, "MAX_KEPT_BYTES", 100)
    monkeypatch.setattr(folder_snapshot, "MAX_KEPT_TOTAL_BYTES", 150)
    write(root, **{"a.png": "PNG\0", "b.txt": "b" * 90, "c.txt": "c" * 90, "d.txt": "d" * 200})
    folder = watch_folder(root)
    write(root, **{"a.png": "PNG\0\0", "c.txt": "x", "d.txt": "d" * 199, "e.txt": "e" * 101})
    error = failure_of(folder)
    check_message(lines_of(error, "unexpected"))
    assert lines_of(error, "diff") == []
    assert folder.diff().count("# ") == 4


def test_names_and_contents_are_defused(
    root: Path, well_formed: Callable[[BaseException], list[str]]
) -> None:
    names = ["a\nb", "\x1b[31mred", "::error::x", "caf\udce9.txt"]
    folder = watch_folder(root)
    for name in names:
        write(root, **{name: b"\x1b]0;title\x07 caf\xe9\r\n::error::x\n"})
    error = failure_of(folder, created="no\x1b")
    well_formed(error)
    check_message(str(error).splitlines())
    # Their names are patterns, too.
    assert assert_files(folder, created=["a\nb", "caf\udce9.txt", "?[[]31m*", "::*"]).value == 1.0


def test_many_changes_fit_into_the_failure(root: Path) -> None:
    folder = watch_folder(root)
    for number in range(300):
        write(root, **{f"new/{number:03}.txt": "line\n" * 1_000})
    error = failure_of(folder, changed="old.txt")
    shown = str(error).splitlines()
    assert len(shown) == 42
    assert len(lines_of(error, "unexpected")) == 21
    assert lines_of(error, "unexpected")[-1] == "and 280 more changes"
    assert lines_of(error, "diff")[12] == "... and 991 more lines"
    assert len(lines_of(error, "diff")) == 130
    created: Any = error.measurement.detail["created"]
    assert (len(created), error.measurement.detail["changes"]) == (200, 300)


def test_a_folder_that_is_gone_fails(root: Path) -> None:
    folder = watch_folder(root)
    moved = root.rename(root.with_name("elsewhere"))
    error = failure_of(folder, deleted="**")
    check_message(str(error).splitlines()[0])
    assert error.measurement.detail["changes"] == 3
    assert "-bye" in folder.diff().splitlines()
    with pytest.raises(UsageError, check=check_message):
        folder.restart()
    root.write_text("a file")
    check_message(str(failure_of(folder)).splitlines()[0])
    if os.name == "posix":
        root.unlink()
        root.symlink_to(moved)
        check_message(str(failure_of(folder)).splitlines()[0])


def test_the_folder_is_found_again_from_elsewhere(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(root)
    folder = watch_folder("src")
    monkeypatch.chdir(tmp_path)
    assert_files(folder)
    assert folder.path == root / "src"


@pytest.mark.parametrize("path", ["", "missing", "old.txt", None, 3, "a\0b", "caf\udce9\ud800"])
def test_a_folder_that_cannot_be_watched(path: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(UsageError, check=check_message):
        watch_folder(path)


@pytest.mark.parametrize(
    "arguments",
    [
        {"time_limit_s": 0},
        {"time_limit_s": float("nan")},
        {"max_files": True},
        {"max_bytes": "1 GB"},
        {"ignore": 3},
        {"ignore": [Path("a")]},
        {"ignore": ["*.log", "[a"]},
        {"ignore": "[[:alpha:]]"},
        {"ignore": "[a\\]]"},
        {"ignore": "\n" * 10_000},
    ],
    ids="-".join,
)
def test_arguments_of_the_wrong_form(arguments: dict[str, Any], root: Path) -> None:
    with pytest.raises(UsageError, check=check_message):
        watch_folder(root, **arguments)


@pytest.mark.parametrize(
    "pattern",
    ["", " ", "/etc/passwd", "C:/a", "../a", "a/./b", "a//b", "a\\b", "[a", Path("a"), None, [""], b"a"],
    ids=repr,
)
def test_patterns_of_the_wrong_form(pattern: Any, root: Path) -> None:
    folder = watch_folder(root)
    with pytest.raises(UsageError, check=check_message):
        assert_files(folder, changed=pattern)


def test_a_folder_that_is_not_watched() -> None:
    folder: Any = Path("repo")
    with pytest.raises(UsageError, check=check_message):
        assert_files(folder)


def test_limits_are_errors_that_say_how_far_it_got(root: Path) -> None:
    for limits in ({"max_files": 2}, {"max_bytes": 10}, {"time_limit_s": 1e-9}):
        with pytest.raises(UsageError, check=check_message):
            watch_folder(root, **limits)
    folder = watch_folder(root, max_files=3, max_bytes=1_000)
    write(root, **{"new.txt": "x"})
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_files(folder, created="new.txt")
    (root / "new.txt").unlink()
    with (root / "old.txt").open("wb") as file:
        file.truncate(1 << 40)  # of which the disk holds nothing
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_files(folder)
    with pytest.raises(UsageError, check=check_message):
        folder.diff()


def fail_for(name: str, function: Callable[..., Any], error: OSError) -> Callable[..., Any]:
    """Return a function that fails for a path, as it does for a user without the right to read it."""

    def call(path: str, *arguments: Any, **named: Any) -> Any:
        if str(path).endswith(name):
            raise error
        return function(path, *arguments, **named)

    return call


@pytest.mark.parametrize(
    ("owner", "function", "name"),
    [(os, "open", "old.txt"), (os, "scandir", "src"), (os, "readlink", "link"), (Path, "lstat", "repo")],
)
def test_what_cannot_be_read_is_an_error(
    owner: Any, function: str, name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if function == "readlink":
        (root / "link").symlink_to("old.txt")
    folder = watch_folder(root)
    denied = PermissionError(13, "Permission denied")
    monkeypatch.setattr(owner, function, fail_for(name, getattr(owner, function), denied))
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_files(folder)
    with pytest.raises(UsageError, check=check_message):
        folder.restart()
    if name != "repo":
        assert assert_files(watch_folder(root, ignore=name)).value == 1.0


def test_a_file_that_breaks_while_it_is_read_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    folder = watch_folder(root)
    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_files(folder)


def test_what_changes_while_it_is_read_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = watch_folder(root)
    read, place = os.read, root / "old.txt"
    actions: list[Callable[[], object]] = [
        lambda: place.write_text("bye, and more\n"),
        lambda: place.write_text(""),
        lambda: os.utime(place, (1, 1)),
    ]
    for action in actions:

        def read_meanwhile(descriptor: int, size: int, act: Callable[[], object] = action) -> bytes:
            act()
            return read(descriptor, size)

        with monkeypatch.context() as patch:
            patch.setattr(os, "read", read_meanwhile)
            with pytest.raises(MeasurementErrored, check=check_message):
                assert_files(folder)
        write(root, **{"old.txt": "bye\n"})
    monkeypatch.setattr(os, "open", fail_for("old.txt", os.open, FileNotFoundError()))
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_files(folder)


@posix
def test_a_pipe_in_place_of_a_listed_file_is_not_waited_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = watch_folder(root)
    open_file = os.open

    def open_replaced(path: str, flags: int) -> int:
        if path.endswith("old.txt"):
            Path(path).unlink()
            os.mkfifo(path)
        return open_file(path, flags)

    monkeypatch.setattr(os, "open", open_replaced)
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_files(folder)


def test_the_folder_of_git_is_left_out(root: Path) -> None:
    folder = watch_folder(root)
    write(root, **{".git/HEAD": "x", "vendor/.git": "gitdir: x", "src/.github/ci.yml": "x"})
    assert_files(folder, created="src/.github/ci.yml")


def test_rules_of_gitignore_files_count_as_they_were_at_the_start(root: Path) -> None:
    write(root, **{".gitignore": "\ufeff*.log\r\n/build/\r\n", "src/.gitignore": "!keep.log\n"})
    new = {"a.log": "x", "build/x": "x", "src/b.log": "x", "src/keep.log": "x", "src/build/y": "x"}
    everything, filtered = watch_folder(root), watch_folder(root, gitignore=True, ignore=["*.tmp", "!a.log"])
    write(root, **new, **{"a.tmp": "x"})
    assert_files(everything, created=[*new, "a.tmp"])
    assert_files(filtered, created=["a.log", "src/keep.log", "src/build/y"])
    # A rule that an agent adds hides nothing.
    write(root, **{".gitignore": "*\n", "new/.gitignore": "*\n"})
    assert_files(
        filtered, changed=".gitignore", created=["a.log", "src/*.log", "src/build/*", "new/.gitignore"]
    )
    filtered.restart()
    write(root, anything="x")
    assert_files(filtered)


@pytest.mark.parametrize(
    ("rules", "ignored"),
    [
        ("a\\ ", {"a "}),
        ("a  ", {"a"}),
        ("\\#a", {"#a"}),
        ("\\!a", {"!a"}),
        ("a\\*", {"a*"}),
        ("\\a", {"a"}),
        ("\\[a\\]", {"[a]"}),
        ("[[]a]", {"[a]"}),
        ("a\\", set()),
        ("#a\n\n/\n!\n//", set()),
        ("[!a]*\n!\\[a]", {"#a", "!a"}),
    ],
)
def test_rules_with_signs_in_them(rules: str, ignored: set[str], tmp_path: Path) -> None:
    folder = watch_folder(tmp_path, ignore=rules)
    names = {"a", "a ", "#a", "!a", "a*", "ab", "[a]"}
    for name in names:
        (tmp_path / name).touch()
    assert set(assert_files(folder, at_least=None).detail["created"]) == names - ignored  # type: ignore[arg-type]


def test_rule_files_that_cannot_be_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, **{"src/.gitignore": "*.log\n[a-\n"})
    assert_files(watch_folder(root))
    with pytest.raises(UsageError, check=check_message):
        watch_folder(root, gitignore=True)
    monkeypatch.setattr(folder_snapshot, "MAX_RULE_FILE_BYTES", 5)
    with pytest.raises(UsageError, check=check_message):
        watch_folder(root, gitignore=True)
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "open", fail_for(".gitignore", Path.open, PermissionError(13, "Permission denied"))
        )
        with pytest.raises(UsageError, check=check_message):
            watch_folder(root, gitignore=True)
    # As for git, one that is no file has no rules.
    (root / "src/.gitignore").unlink()
    (root / "src/.gitignore").mkdir()
    assert_files(watch_folder(root, gitignore=True))


def test_a_diff_for_other_assertions(root: Path) -> None:
    folder = watch_folder(root)
    write(root, **{"src/app.py": "def f():\n    return 2\n"})
    diff = folder.diff()
    assert diff.startswith("--- a/src/app.py\n+++ b/src/app.py\n@@ -1,2 +1,2 @@\n")
    assert folder.diff(max_chars=5) == f"--- a... (+{len(diff) - 5:,} chars)\n"
