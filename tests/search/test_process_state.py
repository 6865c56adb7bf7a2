"""What a search knows in one process alone."""

import pickle

import keras
import pytest

from kerasft import _keras
from kerasft.search.process_state import ProcessState
from kerasft.search.trial.checkpoint import weight_fingerprints
from kerasft.search.trial.context import TrialContext


@pytest.fixture
def model():
    """A small model with a random state."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])


def test_further_executions_of_a_trial_draw_other_random_numbers(model):
    state, context, before = ProcessState(), TrialContext.of(None, {}), _keras.random_state(model)
    assert state.begin_execution(context, model) == 0 and not state.is_repeated(context)
    assert _keras.random_state(model) == before
    assert state.begin_execution(context, model) == 1 and state.is_repeated(context)
    assert _keras.random_state(model) != before


def test_the_weights_of_a_model_are_those_as_it_was_built(model):
    state, before = ProcessState(), weight_fingerprints(model)
    state.note_built(model, {})
    model.weights[0].assign(model.weights[0] + 1)
    assert state.weights_as_built(model) == before
    assert state.weights_as_built(model) == weight_fingerprints(model) != before  # it is asked for once


def test_another_process_begins_without_it(model):
    state, context = ProcessState(), TrialContext.of(None, {})
    state.note_built(model, {})
    state.begin_execution(context, model)
    assert pickle.loads(pickle.dumps(state)).begin_execution(context, model) == 0
