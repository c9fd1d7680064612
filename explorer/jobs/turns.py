"""Who goes first: pages before live sweeps before dataset jobs.

Work of a lower rank asks between its chunks whether it may go on, so a click never waits longer than one chunk.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

LONGEST_WAIT = 10.0
"""Seconds after which waiting work goes on all the same, so that nothing starves."""
SMALL_CHUNK = 512
"""Positions of one forward pass of work that gives way: some 0.1 s of SmolLM2 on two cores."""


class Rank(IntEnum):
    DATASET = 0
    LIVE = 1
    PAGE = 2


_changed = threading.Condition()
_busy = dict.fromkeys(Rank, 0)


@contextmanager
def taking_turn(rank: Rank) -> Iterator[None]:
    """While this is open, work of lower ranks waits."""
    with _changed:
        _busy[rank] += 1
    try:
        yield
    finally:
        with _changed:
            _busy[rank] -= 1
            _changed.notify_all()


def give_way(rank: Rank) -> None:
    """Wait while work of a higher rank is under way."""
    with _changed:
        _changed.wait_for(lambda: not any(_busy[other] for other in Rank if other > rank), LONGEST_WAIT)
