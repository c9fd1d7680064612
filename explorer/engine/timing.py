"""How long one forward pass takes here: what costs that are shown before work begins are multiples of."""

import time
from collections.abc import Sequence

from explorer.engine.edits import Tape
from explorer.engine.model import Model


def seconds_of_a_run(model: Model, ids: Sequence[int]) -> float:
    """Seconds of one forward pass of a prompt, the best of three (the first may wait for memory); timed once a length."""

    def make() -> float:
        spent = []
        for _ in range(3):
            start = time.perf_counter()
            model.runtime.run(model.batch(ids), Tape((), ()))
            spent.append(time.perf_counter() - start)
        return min(spent)

    found: float = model.remember(("seconds_of_a_run", len(ids)), make, lambda made: 8)
    return found
