"""Write the log of a canary from two run files: each recorded answer is a request; only their order and times are made up.

pytest examples/support_bot/test_answers.py --llm-prompt support/answer=v1 --llm-report=v1.json
pytest examples/support_bot/test_answers.py --llm-prompt support/answer=v2 --llm-report=v2.json
python examples/support_bot/canary/write_events.py v1.json v2.json > examples/support_bot/canary/v2.csv
"""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 11, 2, 8, tzinfo=UTC)
TEST = "::test_answer["


def read_answers(path: Path) -> Iterator[dict[str, object]]:
    """Yield the version, the question and the score of each answer of a run file."""
    run = json.loads(path.read_text(encoding="utf-8"))
    for record in run["records"]:
        if TEST not in record["nodeid"]:
            continue
        (measurement,) = record["measurements"]
        for score in measurement.get("samples") or [measurement["value"]]:
            yield {
                "arm": record["facts"]["prompt"]["version"],
                "score": score,
                "question": record["facts"]["case"]["id"],
            }


def main() -> None:
    """Print the events of both files, in an order that depends on their number alone."""
    answers = [answer for name in sys.argv[1:] for answer in read_answers(Path(name))]
    dice = random.Random(len(answers))  # noqa: S311 -- no secret
    dice.shuffle(answers)
    columns = ["id", "time", "arm", "score", "question"]
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    time = START
    for number, answer in enumerate(answers):
        time += timedelta(seconds=dice.randint(1, 120))
        writer.writerow({"id": f"r{number:03}", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ"), **answer})


if __name__ == "__main__":
    main()
