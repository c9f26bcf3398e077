"""``python -m pytest_llmops`` is the console command ``llmops``."""

from __future__ import annotations

import sys

from pytest_llmops.cli import main

if __name__ == "__main__":
    sys.exit(main())
