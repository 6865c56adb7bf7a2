"""Loads a compiled model after `import kerasft` alone, and prints what its optimizer is."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import kerasft  # noqa: F401, I001 - first: whether it waits for Keras is what is tested

import keras

optimizer = keras.models.load_model(sys.argv[1]).optimizer
inner = optimizer.inner_optimizer
print(keras.saving.get_registered_name(type(optimizer)), keras.saving.get_registered_name(type(inner)))
print(isinstance(inner, keras.optimizers.Adam), len(inner.lr_multipliers) > 0, int(inner.iterations) > 0)
