"""Sentiment of movie reviews with all-MiniLM-L6-v2: gradual unfreezing, full fine-tuning and a linear probe.

    python benchmarks/text.py [--quick] [--train N] [--length N] [--seeds N] [--out FILE]

Three ways over the same texts and the same split, each for several seeds, and what the cache saves:

- probe: logistic regression on the frozen encoder's features; the strength of its penalty is the one with the
  lowest loss on the validation texts;
- full: plain Keras, all layers from the first step, AdamW with warm-up and a linear fall to zero;
- gradual: kerasft, the head first, then from the top layer down, with layer-wise decay and the cache.

Test accuracies, their means and spreads. What was measured is kept in FILE, a row for each way and seed, so
that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from kerasft.examples import minilm, movie_reviews

import kerasft
from kerasft.data import load_texts
from kerasft.hub import load_backbone
from kerasft.text import TextRule

BATCH = 32
NAMES = ("input_word_ids", "input_mask", "input_type_ids")


def main() -> None:
    """Measure what is not in the file yet, and print all of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one seed, 640 texts of 24 tokens, one epoch a phase"
    )
    parser.add_argument("--train", type=int, help="use that many training texts; all, by default")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--epochs", type=int, default=3, help="of full fine-tuning, and of each phase's share"
    )
    parser.add_argument("--full-rate", type=float, default=5e-5)
    parser.add_argument(
        "--rate", type=float, default=1e-4, help="of the highest layer that gradual unfreezing thaws"
    )
    parser.add_argument("--decay", type=float, default=0.9)
    parser.add_argument("--ways", default="probe,full,gradual,cache")
    parser.add_argument("--out", type=Path, default=Path("text_benchmark.json"))
    options = parser.parse_args()
    if options.quick:
        options.train, options.length, options.seeds, options.epochs = 640, 24, 1, 1
    ways = {"probe": probe, "full": full, "gradual": gradual, "cache": cache}
    with tempfile.TemporaryDirectory() as folder:
        data = Data(Path(folder), options.length, options.train)
        print(f"{data.sizes} texts to train, validate and test; {options.length} tokens", flush=True)
        for seed in range(options.seeds):
            for name in options.ways.split(","):
                if name in ("probe", "cache") and seed:  # nothing in them is drawn by chance
                    continue
                measured(options, name, seed, lambda way=ways[name], seed=seed: way(data, options, seed))
    summary(options)


def key(options: argparse.Namespace, name: str, seed: int) -> str:
    """All that a row depends on."""
    recipe = {
        "full": (options.epochs, options.full_rate),
        "gradual": (options.epochs, options.rate, options.decay),
    }.get(name, ())
    return json.dumps([name, seed, options.train, options.length, *recipe])


def measured(options: argparse.Namespace, name: str, seed: int, measure: object) -> None:
    """Measure a row unless the file has it, and write the file."""
    rows = json.loads(options.out.read_text()) if options.out.exists() else {}
    at = key(options, name, seed)
    if at not in rows:
        begin = time.perf_counter()
        rows[at] = {**measure(), "seconds": round(time.perf_counter() - begin, 1)}  # type: ignore[operator]
        part = options.out.with_suffix(".part")
        part.write_text(json.dumps(rows, indent=1))
        part.replace(options.out)
    print(name, seed, rows[at], flush=True)


def summary(options: argparse.Namespace) -> None:
    """Print means and spreads."""
    rows = json.loads(options.out.read_text())
    for name in ("probe", "full", "gradual"):
        found = [rows.get(key(options, name, seed), {}).get("accuracy") for seed in range(options.seeds)]
        values = [value for value in found if value is not None]
        if values:
            spread = f"{min(values):.4f} to {max(values):.4f}"
            print(f"{name:10} test accuracy {np.mean(values):.4f}   ({spread}, {len(values)} seeds)")


class Data:
    """The texts as token ids, and the encoder as a SavedModel."""

    def __init__(self, folder: Path, length: int, train: int | None) -> None:
        self.length = length
        self.encoder = minilm.write_saved_model(folder / "minilm", length=length)
        texts = load_texts(movie_reviews.write_csv(folder / "reviews.csv"), batch_size=256)
        tokenizer = TextRule.of(minilm.write_vocabulary(folder / "vocab.txt"), length).tokenizer()
        whole = {part: self._ids(getattr(texts, part), tokenizer) for part in ("train", "validation", "test")}
        order = np.random.default_rng(0).permutation(len(whole["train"][1]))[:train]
        x, y = whole["train"]
        self.train = {name: values[order] for name, values in x.items()}, y[order]
        self.validation, self.test = whole["validation"], whole["test"]
        self.sizes = tuple(len(y) for _, y in (self.train, self.validation, self.test))

    @staticmethod
    def _ids(batches: tf.data.Dataset, tokenizer: object) -> tuple[dict[str, np.ndarray], np.ndarray]:
        ids, labels = [], []
        for texts, label in batches:
            ids.append([values.numpy() for values in tokenizer(texts)])  # type: ignore[operator]
            labels.append(label.numpy())
        columns = (np.concatenate(column) for column in zip(*ids, strict=True))
        return dict(zip(NAMES, columns, strict=True)), np.concatenate(labels)

    def batches(self, seed: int) -> tf.data.Dataset:
        """The training texts, in a new order in each pass."""
        data = tf.data.Dataset.from_tensor_slices(self.train)
        return data.shuffle(self.sizes[0], seed=seed, reshuffle_each_iteration=True).batch(BATCH)

    def fixed(self, part: tuple[dict[str, np.ndarray], np.ndarray]) -> tf.data.Dataset:
        """Batches in a fixed order."""
        return tf.data.Dataset.from_tensor_slices(part).batch(64)


def classifier(encoder: keras.Model, length: int) -> keras.Model:
    """The mean over the tokens of the encoder's last layer, and a dense layer on it."""
    inputs = {name: keras.Input((length,), dtype="int32", name=name) for name in NAMES}
    x = encoder(inputs)
    x = x["sequence_output"] if isinstance(x, dict) else x
    x = keras.layers.GlobalAveragePooling1D(name="pooling")(x, mask=inputs["input_mask"])
    x = keras.layers.Dropout(0.1, name="dropout")(x)
    return keras.Model(inputs, keras.layers.Dense(2, "softmax", name="scores")(x), name="classifier")


def hub_classifier(data: Data) -> keras.Model:
    """The classifier over the SavedModel."""
    shapes = {name: (data.length,) for name in NAMES}
    return classifier(load_backbone(data.encoder, input_shape=shapes, output="sequence_output"), data.length)


def accuracy(model: keras.Model, data: Data) -> dict[str, float]:
    """Accuracies on the texts that are held out."""
    return {
        "accuracy": float(model.evaluate(data.fixed(data.test), verbose=0, return_dict=True)["accuracy"]),
        "validation": float(
            model.evaluate(data.fixed(data.validation), verbose=0, return_dict=True)["accuracy"]
        ),
    }


def probe(data: Data, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Logistic regression on the frozen features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    model = hub_classifier(data)
    features = keras.Model(model.input, model.get_layer("pooling").output)
    x, held, tested = (
        features.predict(part[0], batch_size=64, verbose=0)
        for part in (data.train, data.validation, data.test)
    )
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    x, held, tested = ((f - mean) / deviation for f in (x, held, tested))
    fits = [LogisticRegression(C=c, max_iter=2000).fit(x, data.train[1]) for c in (1e-4, 1e-3, 1e-2, 1e-1, 1)]
    best = min(fits, key=lambda fit: log_loss(data.validation[1], fit.predict_proba(held)))
    return {
        "accuracy": float(best.score(tested, data.test[1])),
        "validation": float(best.score(held, data.validation[1])),
    }


@keras.saving.register_keras_serializable("kerasft.benchmarks")
class Warm(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up, and a linear fall to zero."""

    def __init__(self, peak: float, up: int, steps: int) -> None:
        self.peak, self.up, self.steps = peak, up, steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        at = tf.cast(step, tf.float32)
        return self.peak * tf.minimum(
            (at + 1) / self.up, tf.maximum(0.0, (self.steps - at) / (self.steps - self.up))
        )

    def get_config(self) -> dict[str, float]:
        return {"peak": self.peak, "up": self.up, "steps": self.steps}


def full(data: Data, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Plain Keras: the Keras encoder with its dropout, all of it trained."""
    keras.utils.set_random_seed(seed)
    model = classifier(minilm.build_minilm(length=data.length), data.length)
    batches = data.batches(seed)
    optimizer = keras.optimizers.AdamW(
        Warm(options.full_rate, len(batches) // 3, len(batches) * options.epochs)
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(batches, epochs=options.epochs, verbose=0)
    return accuracy(model, data)


def gradual(data: Data, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """kerasft: the head on recorded features, the upper half, then all, with layer-wise decay."""
    keras.utils.set_random_seed(seed)
    model = hub_classifier(data)
    stages = kerasft.find_stages(model)
    batches = data.batches(seed)
    steps = len(batches)
    last = Warm(options.rate, steps // 5, steps * options.epochs)
    phases = kerasft.UnfreezingSchedule(
        [
            kerasft.Phase("head", 4),
            kerasft.Phase("encoder_layer_3", 1, learning_rate=options.rate, warmup_steps=steps // 5),
            kerasft.Phase("embeddings", options.epochs, learning_rate=last),
        ]
    )
    optimizer = kerasft.with_lr_multipliers(
        keras.optimizers.AdamW(1e-3), kerasft.layerwise_decay(stages, options.decay)
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        batches,
        epochs=sum(phase.epochs or 0 for phase in phases),
        verbose=0,
        callbacks=[kerasft.GradualUnfreezing(phases), kerasft.PrefixCache()],
    )
    return accuracy(model, data)


def cache(data: Data, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Seconds of an epoch in which the head alone trains: plain Keras, and from the record."""

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            seconds.append(time.perf_counter() - self.began)

    found = {}
    for name, callbacks in (("plain", []), ("cached", [kerasft.PrefixCache()])):
        keras.utils.set_random_seed(seed)
        seconds: list[float] = []
        model = hub_classifier(data)
        model.get_layer(index=len(NAMES)).trainable = False
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        epochs = 3 if name == "plain" else 8
        model.fit(data.batches(seed), epochs=epochs, verbose=0, callbacks=[*callbacks, Clock()])
        found[name] = float(np.median(seconds[1:]))
    return {**found, "times": found["plain"] / found["cached"]}


if __name__ == "__main__":
    main()
