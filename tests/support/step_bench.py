"""A cached step function beside a small model, for tests that need no `fit`."""

import keras
import numpy as np
import tensorflow as tf

from kerasft.cache.cut_plan import CutPlan, FitCuts
from kerasft.cache.records.storage import Storage
from kerasft.cache.step_function import CachedStepFunction
from kerasft.cache.step_plan import StepPlan, StepSettings


class Bench:
    """A cached step function of a small model, and what `CachedFit` does with it."""

    def __init__(self, repeats=False, ahead=True, folder=None, **settings):
        keras.utils.set_random_seed(0)
        self.model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(4, trainable=False), keras.layers.Dense(2)]
        )
        self.model.compile("sgd", "mse")
        self.reasons = []
        cuts = FitCuts(CutPlan(), self.model, [])
        self.plan = StepPlan(cuts, repeats, False, False, ahead, 1)
        given = {
            "training": True,
            "dtype": "float32",
            "verify": True,
            "views": 1,
            "seed": 0,
            "folder": folder,
        }
        self.store = Storage(None, 10**6, spill=False)
        self.model.train_function = self.stock
        self.source = CachedStepFunction(self.model, StepSettings(**given | settings), self.store, self)
        self.source.slot.adopt()
        self.source.retrace(self.plan)
        self.stock_steps = 0

    def is_running(self):
        return True

    def stop(self, reason, for_good):
        self.reasons.append(reason)

    def stock(self, iterator):
        self.stock_steps += 1
        if next(iter(iterator), None) is None:
            raise StopIteration
        return {}

    def watch(self, number, x, batch=2):
        """Let an epoch pass by."""

        def replay(look):
            for given in data(x, batch):
                look(given)

        self.source.watch(number, data(x, batch).element_spec, replay)

    def epoch(self, number, x, batch=2):
        """Train on `x` for one epoch; returns how many steps it took."""
        iterator, steps = iter(data(x, batch)), 0
        self.source.begin_epoch(number)
        while True:
            try:
                self.source(iterator)
            except StopIteration:
                break
            steps += 1
        self.source.end_epoch(whole=True)
        return steps


def data(x, batch):
    return tf.data.Dataset.from_tensor_slices((x, np.zeros((len(x), 2), "float32"))).batch(batch)


def rows(count, start=0):
    return np.arange(3 * count, dtype="float32").reshape(count, 3) + start
