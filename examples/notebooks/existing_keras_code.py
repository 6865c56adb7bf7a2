# %% [markdown]
# # Add kerasft to Keras code that you have
#
# You have a model, a `compile` and a `fit`. Three lines are added: rates by stage, phases, and a cache of
# frozen work. The `fit` stays the same. This needs `pip install "kerasft[demo,plots]"`.

# %%
import os

import keras
import numpy as np
from kerasft.examples.efficientnet_lite0 import build_efficientnet_lite0
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

import kerasft

SHORT = os.environ.get("KERASFT_SHORT") == "1"  # little data and few epochs, to see that all of it runs
HEAD, UPPER, SAMPLES = (1, 1, 64) if SHORT else (4, 6, 600)
keras.utils.set_random_seed(0)

# %% [markdown]
# ## What you have
#
# Digits of 32 × 32 pixels, a pre-trained backbone, and a head. Everything trains from the first step, at
# one rate.

# %%
digits, labels = load_digits(return_X_y=True)
images = np.kron(digits.reshape(-1, 8, 8, 1), np.ones((4, 4, 3), "float32")) * 255 / 16
train = images[:SAMPLES], labels[:SAMPLES]
test = images[-300:], labels[-300:]


def build_model():
    """A classifier of digits."""
    backbone = build_efficientnet_lite0(classes=None, rescale=True, input_shape=(32, 32, 3))
    inputs = keras.Input((32, 32, 3), name="image")
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="scores")(backbone(inputs)))


plain = build_model()
plain.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
before = plain.fit(*train, validation_data=test, epochs=HEAD + UPPER, verbose=0)

# %% [markdown]
# ## What you add
#
# 1. `with_lr_multipliers`: each stage learns at 0.7 of the rate of the stage above it.
# 2. `GradualUnfreezing`: first the head alone, then everything from `block_12` on.
# 3. `PrefixCache`: while the lower stages are frozen, they run once for each picture.

# %%
model = build_model()
stages = kerasft.find_stages(model)
optimizer = kerasft.with_lr_multipliers(keras.optimizers.Adam(1e-2), kerasft.layerwise_decay(stages, 0.7))
model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])

phases = [kerasft.Phase("head", epochs=HEAD), kerasft.Phase("block_12", learning_rate=2e-3)]
unfreezing = kerasft.GradualUnfreezing(kerasft.UnfreezingSchedule(phases))
cache = kerasft.PrefixCache()
after = model.fit(*train, validation_data=test, epochs=HEAD + UPPER, verbose=0, callbacks=[unfreezing, cache])
print(stages)
print(cache.report)

# %% [markdown]
# ## The two runs
#
# Where the line of the freeze depth falls, the second phase begins.

# %%
figure, (above, below) = plt.subplots(2, sharex=True, figsize=(6.4, 5), layout="constrained")
for history, name in ((before, "as it was"), (after, "with kerasft")):
    above.plot(history.history["val_accuracy"], "o-", label=name)
above.set(ylabel="accuracy on test digits")
above.legend(frameon=False)
below.step(range(HEAD + UPPER), after.history["freeze_depth"], where="post", color="C1")
below.set(xlabel="epoch", ylabel="freeze depth", ylim=(0, len(stages)))
figure.savefig("two_runs.png")

# %% [markdown]
# ## A file for the device
#
# It is loaded in LiteRT and compared with the model on the test digits before it gets its name.

# %%
report = kerasft.export.to_tflite(model, "digits.tflite", precision="float16", holdout=test, overwrite=True)
print(f"{report.path}: {report.size_bytes:,} bytes, test accuracy {report.accuracy_file:.3f}")
