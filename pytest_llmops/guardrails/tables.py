"""The patterns and tables of ``tables.toml``."""

import re
import tomllib
from pathlib import Path
from typing import Any

TABLES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("tables.toml").read_text(encoding="utf-8"))
PATTERNS: dict[str, re.Pattern[str]] = {
    name: re.compile("|".join(alternatives), flags)
    for section, flags in (("words", re.IGNORECASE), ("exact", re.NOFLAG))
    for name, alternatives in TABLES[section].items()
}
CHARACTERS: dict[str, dict[int, int]] = {
    name: str.maketrans(*pair) for name, pair in TABLES["characters"].items()
}
