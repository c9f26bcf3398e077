from __future__ import annotations

import sys
from pathlib import Path

# The application is not installed: its folder has to be on the path.
sys.path.insert(0, str(Path(__file__).parent))
