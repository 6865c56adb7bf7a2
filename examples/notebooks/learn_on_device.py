# %% [markdown]
# # A file that learns on the device
#
# A model that knows the digits 0 to 4 becomes a `.tflite` file whose last layer trains in the app. There it
# learns 5, 6 and 7 from a few pictures each, by LiteRT and NumPy alone. This needs `pip install
# "kerasft[demo,plots]"`.

# %%
import os

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

import kerasft

SHORT = os.environ.get("KERASFT_SHORT") == "1"  # few epochs and steps, to see that all of it runs
EPOCHS, STEPS, EACH = (3, 20, (2, 5)) if SHORT else (15, 100, (1, 2, 5, 10, 20))
keras.utils.set_random_seed(0)

# %% [markdown]
# ## In the office: a model of five digits

# %%
images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32")
inputs = keras.Input((8, 8, 1), name="image")
x = keras.layers.Conv2D(32, 3, activation="relu")(keras.layers.Rescaling(1 / 16)(inputs))
x = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(64, 3, activation="relu")(x))
model = keras.Model(inputs, keras.layers.Dense(5, activation="softmax", name="scores")(x))
model.compile("adam", "sparse_categorical_crossentropy")
known = labels < 5
model.fit(images[known], labels[known], epochs=EPOCHS, verbose=0)

# %% [markdown]
# ## The file
#
# Its head begins anew, for three classes. All state is in the hands of the app: weights and slots of the
# optimizer are arrays that go in and come out.

# %%
report = kerasft.export.to_trainable_tflite(
    model,
    "head.tflite",
    optimizer=keras.optimizers.Adam(0.01),
    new_classes=["five", "six", "seven"],
    overwrite=True,
)

# %% [markdown]
# ## On the device
#
# From here on there is no Keras. `features` runs the frozen layers once for each picture, and `train` takes
# a step.

# %%
file = Interpreter("head.tflite")
features, train, scores = (file.get_signature_runner(name) for name in ("features", "train", "scores"))
WEIGHTS = ("scores_kernel", "scores_bias")
first = dict(np.load("head.npz"))
digest = first.pop("digest")

new = np.flatnonzero((labels >= 5) & (labels <= 7))
recorded = np.concatenate([features(image=images[i : i + 1])["features"] for i in new])
places = [np.flatnonzero(labels[new] == digit) for digit in (5, 6, 7)]


def learn(count):
    """Train a head on that many pictures of each digit; its state, losses, and accuracy on the others."""
    chosen = np.concatenate([place[:count] for place in places])
    target = np.eye(3, dtype="float32")[labels[new[chosen]] - 5]
    state, losses = dict(first), []
    for _ in range(STEPS):
        rate = np.float32([0.01])
        state = train(features=recorded[chosen], target=target, learning_rate=rate, **state)
        losses.append(float(state.pop("loss")[0]))
    others = np.setdiff1d(np.arange(len(new)), chosen)
    found = scores(features=recorded[others], **{name: state[name] for name in WEIGHTS})["scores"]
    return state, losses, float(np.mean(found.argmax(1) == labels[new[others]] - 5))


runs = {count: learn(count) for count in EACH}
print({count: round(accuracy, 3) for count, (_, _, accuracy) in runs.items()})

# %% [markdown]
# ## How much it takes

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for count, (_, losses, _) in runs.items():
    left.plot(losses, label=f"{count} of each")
left.set(xlabel="step", ylabel="loss", yscale="log")
left.legend(frameon=False)
right.plot(list(runs), [accuracy for _, _, accuracy in runs.values()], "o-")
right.set(xlabel="pictures of each new digit", ylabel="accuracy on the others", ylim=(0, 1))
figure.savefig("learning.png")

# %% [markdown]
# ## Back in the office
#
# What the app saves is read into a Keras model.

# %%
state, _, _ = runs[EACH[-1]]
np.savez("trained.npz", digest=digest, **state)
learned = kerasft.export.load_head(model, "trained.npz")
file_says = scores(features=recorded, **{name: state[name] for name in WEIGHTS})["scores"].argmax(1)
keras_says = learned.predict(images[new], verbose=0).argmax(1)
print(f"Keras and the file agree on {np.mean(file_says == keras_says):.1%} of the new digits")
print(f"{report.path}: {report.size_bytes:,} bytes; what it has learned is in trained.npz")
