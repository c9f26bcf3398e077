"""Gives a forked process its own place in each file that was open before the fork, and lets it write none of them.

A fork shares the places: the parent skips bytes that the fork reads. It shares the files that capture the parent's output too.
"""

import fcntl
import os
import shutil
import stat


def leave_shared_files() -> None:
    """Replace each regular file that this process has inherited. Writes to a file that is only written are discarded from now on.

    Raises:
        OSError: A file can be opened no more.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- names are all that is needed
        descriptor = int(name)
        try:
            status = os.fstat(descriptor)
        except OSError:  # of the list itself, which is closed by now
            continue
        if stat.S_ISREG(status.st_mode):
            _replace_file(descriptor, status, nowhere)


def _replace_file(descriptor: int, status: os.stat_result, nowhere: int) -> None:
    """Replace a file by one that shares no place with the parent's.

    Args:
        descriptor: The file's. It stays the same.
        status: The file's.
        nowhere: Descriptor of the null device.
    """
    access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    is_inherited = os.get_inheritable(descriptor)
    if access == os.O_WRONLY:
        os.dup2(nowhere, descriptor, is_inherited)
        return
    if access == os.O_RDWR and status.st_nlink == 0:
        own = _copy_file(descriptor)
    else:
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    os.lseek(own, os.lseek(descriptor, 0, os.SEEK_CUR), os.SEEK_SET)
    os.dup2(own, descriptor, is_inherited)
    os.close(own)


def _copy_file(descriptor: int) -> int:
    """Return the descriptor of a copy in memory: a file without a name, for content that a program will read back."""
    copy = os.memfd_create("pytest-llmops")
    with (
        open(f"/proc/self/fd/{descriptor}", "rb") as source,  # noqa: PTH123 -- has no name of its own
        open(copy, "wb", closefd=False) as target,
    ):
        shutil.copyfileobj(source, target)
    return copy
