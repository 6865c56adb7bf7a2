# %% [markdown]
# # Search how deep to unfreeze
#
# How many stages of a backbone should train, by which recipe, and at which rate? `FreezeDepthSearch` tries
# it with any tuner of keras-tuner. Its trials share what frozen stages give. This needs `pip install
# "kerasft[demo,plots]"`, and Fashion-MNIST: Debian's package `dataset-fashion-mnist`, or a network.

# %%
import os

import keras
import keras_tuner
from kerasft.examples.efficientnet_lite0 import build_efficientnet_lite0
from matplotlib import pyplot as plt

import kerasft
from kerasft.data import load_dataset
from kerasft.plots import trials_by_depth

SHORT = os.environ.get("KERASFT_SHORT") == "1"  # few pictures and two trials, to see that all of it runs
SIZE, LIMIT, TRIALS, EPOCHS = (32, 120, 2, 2) if SHORT else (64, 1200, 12, 8)
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Data and model
#
# The function makes a fresh model for each trial. It compiles nothing: the search finds the loss by the
# data.

# %%
data = load_dataset("tfds:fashion_mnist", image_size=SIZE, limit=LIMIT)


def build_model():
    """A classifier of clothes."""
    backbone = build_efficientnet_lite0(classes=None, rescale=True, input_shape=(SIZE, SIZE, 3))
    inputs = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Dropout(0.2)(backbone(inputs))
    outputs = keras.layers.Dense(len(data.class_names), activation="softmax", name="scores")(x)
    return keras.Model(inputs, outputs)


# %% [markdown]
# ## The search
#
# Freeze depths are names of stages, or numbers. The cell may be stopped, and run again: the search goes on.

# %%
search = kerasft.FreezeDepthSearch(
    build_model,
    depths=["head", "top", "block_12", "block_6"],
    recipes=["frozen_head", "head_then_all"],
    learning_rate=(1e-4, 3e-3),
)
tuner = keras_tuner.RandomSearch(
    search, "val_accuracy", max_trials=TRIALS, seed=1, directory="search", project_name="depth"
)
tuner.search(
    data.train,
    validation_data=data.validation,
    epochs=EPOCHS,
    shuffle=False,  # the pictures come in a new order by themselves
    verbose=0,
)
for trial in search.results()[:3]:
    print(f"{trial.recipe}, trains from {trial.trains_from}: {trial.score:.3f} in {trial.seconds:.0f} s")

# %% [markdown]
# ## What the trials say

# %%
trials_by_depth(search.results(), "accuracy on validation pictures", "trials.png")
plt.figure(figsize=(8, 6))
plt.imshow(plt.imread("trials.png"))
plt.axis("off")

# %% [markdown]
# ## The best one as a file
#
# It was trained in the search, and is ready. The test pictures took no part in any decision.

# %%
model = search.best_model()
report = kerasft.export.to_tflite(
    model,
    "clothes.tflite",
    precision="float16",
    holdout=data.test,
    labels=data.class_names,
    pixels=data.pixels.to_dict(),
    overwrite=True,
)
print(f"{report.path}: {report.size_bytes:,} bytes, test accuracy {report.accuracy_file:.3f}")
