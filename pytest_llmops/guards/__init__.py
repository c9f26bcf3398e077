"""Guards: differences of meaning that an embedding does not see."""

from __future__ import annotations

from pytest_llmops.guards.alarms import Alarm, Comparison
from pytest_llmops.guards.choosing import chosen
from pytest_llmops.guards.comparing import DEFAULT, GUARDS, VERSION, compare
from pytest_llmops.guards.splitting import sentences

__all__ = ["DEFAULT", "GUARDS", "VERSION", "Alarm", "Comparison", "chosen", "compare", "sentences"]
