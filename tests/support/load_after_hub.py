"""Loads a compiled model after `import kerasft.hub` alone, and prints what its optimizer is."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import kerasft.hub  # noqa: F401

optimizer = keras.models.load_model(sys.argv[1]).optimizer
inner = optimizer.inner_optimizer
print(keras.saving.get_registered_name(type(optimizer)), keras.saving.get_registered_name(type(inner)))
print(isinstance(inner, keras.optimizers.Adam), len(inner.lr_multipliers) > 0, int(inner.iterations) > 0)
