"""The console command ``llmops``.

Exit status: 0 success, 1 a problem was found, 2 the command line or an input file is wrong. Results go to stdout,
errors to stderr, one line each.
"""

from pytest_llmops.cli.command_line import main

__all__ = ["main"]
