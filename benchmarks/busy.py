"""What a busy core costs: one forward pass with one thread and with all, alone and beside a process that never rests.

python -m benchmarks.busy
"""

import multiprocessing
import os
import subprocess
import sys
import time

from explorer.engine.edits import Tape
from explorer.engine.model import load_model
from explorer.prompts.examples import EXAMPLES, OPENING


def never_rest() -> None:
    while True:
        pass


def measure() -> None:
    """Milliseconds of a run of each model; the number of threads is this process's."""
    for key, times in (("small-world", 60), ("smollm2", 12)):
        model = load_model(key)
        batch = model.batch(model.tokenize(EXAMPLES[OPENING].pair.clean).ids)
        model.runtime.run(batch, Tape((), ()))
        started = time.perf_counter()
        for _ in range(times):
            model.runtime.run(batch, Tape((), ()))
        print(f"{key} {(time.perf_counter() - started) / times * 1000:.1f} ms", end="   ")


def main() -> None:
    if sys.argv[1:] == ["one"]:
        measure()
        return
    for busy in (False, True):
        other = multiprocessing.Process(target=never_rest, daemon=True)
        if busy:
            other.start()
        for threads in ("1", str(os.cpu_count())):
            command = [sys.executable, "-m", "benchmarks.busy", "one"]
            done = subprocess.run(
                command, env={**os.environ, "OMP_NUM_THREADS": threads}, capture_output=True, text=True, check=True
            )
            print(f"{'beside a busy core' if busy else 'alone':<20} {threads} threads   {done.stdout}")
        if busy:
            other.kill()


if __name__ == "__main__":
    main()
