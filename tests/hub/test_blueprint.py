"""Blueprint: the parts of a SavedModel, without anything of TensorFlow's that stays alive."""

import gc
import logging
import weakref

import numpy as np
import pytest
import tensorflow as tf

from kerasft.hub.blueprint import read


def variables_of(loaded):
    """Functions, and the variables that they use, each once."""
    functions = getattr(loaded.__call__, "concrete_functions", [loaded.__call__])
    return functions, [*{id(v.handle): v for f in functions for v in f.variables}.values()]


def read_plain(path, **options):
    return read(path, *({**DEFAULTS, **options}.values()))


DEFAULTS = {"input_shape": None, "output": None, "stages": None, "batch_norm": "inference", "trust": False}


def test_holds_weights_by_the_indices_of_the_parts(saved):
    blueprint = read_plain(saved("residual"))
    loaded = tf.saved_model.load(saved("residual"))  # its variables live as long as it does
    assert sorted(blueprint.weights) == sorted(i for part in blueprint.parts for i in part.variables)
    values = [v.numpy() for v in variables_of(loaded)[1]]
    for weight in blueprint.weights.values():
        assert any(np.array_equal(weight.value, v) for v in values)
    assert {w.trainable for w in blueprint.weights.values()} == {True, False}
    assert [w.trainable for w in blueprint.weights.values()].count(False) == 6


def test_leaves_the_weights_of_other_outputs_out(saved):
    every = read_plain(saved("encoder"))
    some = read_plain(saved("encoder"), output="sequence_output")
    assert len(some.weights) < len(every.weights)
    assert some.nbytes < every.nbytes


def test_nbytes_counts_weights_and_graphs(saved):
    blueprint = read_plain(saved("chain"))
    weights = sum(w.value.numpy().nbytes for w in blueprint.weights.values())
    graphs = sum(len(p.inference.graph) for p in blueprint.parts)
    assert weights == 4 * sum(w.value.shape.num_elements() for w in blueprint.weights.values()) > 0
    assert all(p.training is None or p.training.graph for p in blueprint.parts)
    graphs += sum(len(p.training.graph) for p in blueprint.parts if p.training is not None)
    assert blueprint.nbytes == weights + graphs


@pytest.mark.parametrize("name", ["residual", "encoder", "recurrent", "loss_of_one"])
def test_nothing_of_the_saved_model_stays_alive(name, saved, monkeypatch):
    watched = []
    load = tf.saved_model.load

    def watch(path):
        loaded = load(path)
        functions, variables = variables_of(loaded)
        watched.extend(weakref.ref(x) for x in [loaded, *variables, *(f.graph for f in functions)])
        return loaded

    monkeypatch.setattr(tf.saved_model, "load", watch)
    blueprint = read_plain(saved(name))
    gc.collect()
    assert len(watched) > 3
    assert [ref() for ref in watched if ref() is not None] == []
    assert blueprint.parts


def test_notes_are_text(saved):
    assert read_plain(saved("residual")).notes == []
    ((level, text),) = read_plain(saved("parallel")).notes
    assert level == logging.WARNING and text.startswith("is a single stage. Not cut: ")
    ((level, text),) = read_plain(saved("runs_python_in_training")).notes
    assert level == logging.INFO and "without its graph for training: " in text and "EagerPyFunc" in text
    with pytest.raises(ValueError, match="EagerPyFunc"):
        read_plain(saved("runs_python_in_training"), batch_norm="train")
