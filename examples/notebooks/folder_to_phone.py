# %% [markdown]
# # From a folder of pictures to a file for the phone
#
# A folder of pictures, with a folder in it for each class, becomes a classifier. It is fine-tuned from
# EfficientNet-Lite0 with ImageNet weights, and ends as an int8 `.tflite` file that was checked against it.
#
# This needs `pip install "kerasft[demo,plots,quantize]"`. To use pictures of your own, put them into the
# folder `pictures`: then none are written there.

# %%
import os
from pathlib import Path

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from kerasft.examples.efficientnet_lite0 import write_saved_model
from matplotlib import pyplot as plt
from PIL import Image
from sklearn.datasets import load_digits

import kerasft
from kerasft.data import load_dataset

SHORT = os.environ.get("KERASFT_SHORT") == "1"  # little data and one epoch, to see that all of it runs
SIZE, EPOCHS, EACH = (32, 1, 12) if SHORT else (96, 8, 60)
PICTURES = Path("pictures")
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Pictures
#
# Without a folder of yours, scikit-learn's digits are written as PNG files: `pictures/seven/12.png` and so
# on.

# %%
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
if not PICTURES.exists():
    digits, labels = load_digits(return_X_y=True)
    for label, name in enumerate(NAMES):
        (PICTURES / name).mkdir(parents=True)
        for number, digit in enumerate(digits[labels == label][:EACH]):
            pixels = (digit.reshape(8, 8) * 255 / 16).astype("uint8")
            Image.fromarray(pixels).save(PICTURES / name / f"{number}.png")

data = load_dataset(PICTURES, image_size=SIZE)
print(f"{data.train_size} pictures to train on, {data.test_size} to test on, {len(data.class_names)} classes")

# %% [markdown]
# ## A backbone, and a head over it
#
# `write_saved_model` makes a TF Hub SavedModel out of a package of PyPI. A URL of TF Hub, a Kaggle handle
# or a folder will do in its place. With `rescale=True` it takes pixels from 0 to 255, and so does the file
# in the end.

# %%
handle = write_saved_model("backbone", rescale=True, overwrite=True)
backbone = kerasft.hub.load_backbone(handle, input_shape=(SIZE, SIZE, 3))
inputs = keras.Input((SIZE, SIZE, 3), name="image")
outputs = keras.layers.Dense(len(data.class_names), activation="softmax", name="scores")(backbone(inputs))
model = keras.Model(inputs, outputs)

# %% [markdown]
# ## Train it
#
# The default recipe solves the head, looks which views of the pictures leave the classes as they are, and
# sets the rates. The `fit` is yours.

# %%
recipe = kerasft.recipes.default(model, data.train, epochs=EPOCHS)
model.compile(recipe.optimizer, recipe.loss, metrics=["accuracy"])
model.fit(
    recipe.train,
    validation_data=data.validation,
    epochs=recipe.epochs,
    callbacks=recipe.callbacks,
    shuffle=False,  # the recipe's data are shuffled
    verbose=0,
)
print(recipe)

# %% [markdown]
# ## The file
#
# It is calibrated on training pictures, and compared with the model on all test pictures before it gets its
# name.

# %%
report = kerasft.export.to_tflite(
    model,
    "pictures.tflite",
    precision="int8",
    representative_data=data.train,
    holdout=data.test,
    labels=data.class_names,
    pixels=data.pixels.to_dict(),
    overwrite=True,
)

# %% [markdown]
# ## What the file sees
#
# The phone runs what runs here: LiteRT, without Keras.

# %%
classify = Interpreter("pictures.tflite").get_signature_runner()
tested, truth = next(iter(data.test))
figure, axes = plt.subplots(2, 4, figsize=(8, 4.4), layout="constrained")
for place, image, label in zip(axes.flat, tested.numpy(), truth.numpy(), strict=False):
    (scores,) = classify(image=image[None])["scores"]
    found = int(np.argmax(scores))
    place.imshow(image.astype("uint8"))
    place.set_title(f"{data.class_names[found]}, {scores[found]:.0%}", color="C0" if found == label else "C3")
    place.axis("off")
figure.savefig("pictures.png")

# %%
print(f"{report.path}: {report.size_bytes:,} bytes, test accuracy {report.accuracy_file:.3f}")
