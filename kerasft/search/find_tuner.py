"""Which tuner searches with a HyperModel: keras-tuner does not tell it until a trial trains."""

from __future__ import annotations

import gc

import keras_tuner


def tuner_of(hypermodel: keras_tuner.HyperModel) -> keras_tuner.Tuner | None:
    """The tuner in this process that has a HyperModel, however it came to it; None unless there is one alone.

    A search that has ended gives its models in a later process without training there, and keras-tuner
    hands its HyperModel nothing but hyperparameters then. So the tuner is looked for among all objects.

    Args:
        hypermodel: The HyperModel.
    """
    tuners = [
        found
        for found in gc.get_objects()
        if issubclass(type(found), keras_tuner.Tuner) and vars(found).get("hypermodel") is hypermodel
    ]
    if len({tuner.project_dir for tuner in tuners}) != 1:
        return None
    return max(tuners, key=lambda tuner: len(getattr(tuner.oracle, "trials", ())))
