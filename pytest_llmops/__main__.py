"""``python -m pytest_llmops`` is the console command ``llmops``."""

import sys

from pytest_llmops.cli import main

if __name__ == "__main__":
    sys.exit(main())
