"""Decide on a metric that passed with all altered answers: can its value get beyond the limit?"""

import math
from collections.abc import Sequence
from typing import Literal


def may_move_beyond(values: Sequence[float], limit: float, *, better: Literal["higher", "lower"]) -> bool:
    """Return whether another answer could miss the limit of a metric, as far as the values tell that none of the tried ones did.

    A value that never changes checks nothing. A value that changes may miss the limit with an unexpected answer, unless
    the limit is where the values end: at least 0 for a count, at most 1 for a share, or where one of them stops exactly.

    Args:
        values: Of the answer and its alterations.
        limit: The value that they had to reach.
        better: ``higher``: at least the limit; ``lower``: at most.

    >>> may_move_beyond([1, 1, 1], 1, better="higher"), may_move_beyond([2, 0, 4], 0, better="higher")
    (False, False)
    >>> may_move_beyond([3, 0, 2], 8, better="lower")
    True
    """
    if min(values) == max(values):
        return False
    if better == "higher":
        is_below_all = limit <= 0 <= min(values)
        return not is_below_all and limit not in values
    if math.isinf(limit):
        return False
    is_count = all(float(value).is_integer() for value in values)
    if is_count:  # one more is always possible
        return True
    is_above_all = limit >= 1 and min(values) >= 0 and max(values) <= 1
    return not is_above_all and limit not in values
