"""How often `kerasft.advise` is right: what it says beside what `recipes.py` has measured.

    python benchmarks/advice.py [--data stamps,…]

For each draw in `recipes.json` that has both, the advice, the accuracy of the probe and that of the default
recipe on the test samples. Advice is right if it names the better one.
"""

from __future__ import annotations

import argparse
import gc
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from little_data import TASKS
from recipes import RESULTS, read

import kerasft


def advised(task: str, draw: int) -> tuple[kerasft.advice.Advice, float]:
    """The advice for a draw's training samples, and the seconds of the processor that it took."""
    (x, y), _ = TASKS[task].split(draw)
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(draw)
    model, _ = TASKS[task].build(int(y.max()) + 1, False)
    begin = time.process_time()
    found = kerasft.advise(model, (x, y), seed=draw)
    return found, time.process_time() - begin


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=",".join(TASKS))
    options = parser.parse_args()
    rows = read(RESULTS)
    print("| data | draw | advice | sure | probe | default recipe | right | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    rights = []
    for task in options.data.split(","):
        for draw in range(TASKS[task].draws):
            probe, tuned = (rows.get(f"{task} {draw} {way}") for way in ("probe", "default"))
            if probe is None or tuned is None:
                continue
            advice, seconds = advised(task, draw)
            gain = tuned["accuracy"] - probe["accuracy"]
            says = 1 if advice.recommendation == "fine_tune" else -1
            rights.append(says * gain > 0)
            said = f"{advice.recommendation} | {advice.confidence}"
            scores = f"{probe['accuracy']:.3f} | {tuned['accuracy']:.3f} | {'yes' if rights[-1] else 'no'}"
            print(f"| {task} | {draw} | {said} | {scores} | {seconds:.0f} |", flush=True)
    print(f"\nRight {np.sum(rights)} of {len(rights)} times.")


if __name__ == "__main__":
    main()
