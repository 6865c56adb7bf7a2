"""The call of `tuner.search`, as the HyperModel sees it."""

import inspect

import keras_tuner
import pytest
from small_searches import grid

from kerasft.search.search_call import trains_as_asked, watch_searches


class Seeing(keras_tuner.HyperModel):
    def build(self, hp):
        hp.Choice("one", [1])

    def see_search(self, tuner, search, *args, **kwargs):
        self.seen = (tuner, args, kwargs)


def test_a_hypermodel_that_sees_searches_is_asked_and_the_patch_is_made_once(tmp_path):
    watch_searches()
    first = keras_tuner.Tuner.search
    watch_searches()
    assert keras_tuner.Tuner.search is first and first.__name__ == "search"
    assert inspect.signature(first) == inspect.signature(keras_tuner.engine.base_tuner.BaseTuner.search)
    model = Seeing()
    tuner = grid(model, tmp_path)
    tuner.search(1, epochs=2)
    assert model.seen == (tuner, (1,), {"epochs": 2})


@pytest.mark.parametrize("kind", ["RandomSearch", "GridSearch", "BayesianOptimization", "Hyperband"])
def test_whose_way_to_train_is_known(kind):
    kind = getattr(keras_tuner, kind)
    own = type("Own", (kind,), {"run_trial": lambda self, trial, **kw: 0.0})
    assert trains_as_asked(kind.__new__(kind)) and not trains_as_asked(own.__new__(own))
