"""The bar of a run in a terminal, and the lines where there is none."""

import io
import re

import keras
import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from kerasft.commands import progress
from kerasft.commands.progress import EpochBar
from kerasft.stages import find_stages


def fit(dense_model, terminal):
    printed = io.StringIO()
    console = Console(file=printed, width=100, force_terminal=terminal)
    dense_model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    shape = (24, *dense_model.input_shape[1:])
    x, y = np.random.default_rng(0).normal(size=shape), np.arange(24) % 3
    with Progress(console=console, disable=not terminal) as display:
        bar = EpochBar(display, find_stages(dense_model))
        history = dense_model.fit(
            x, y, batch_size=8, epochs=3, validation_data=(x[:6], y[:6]), callbacks=[bar], verbose=0
        )
    return history.history, printed.getvalue()


@pytest.mark.training
def test_without_a_terminal_each_epoch_is_a_line(dense_model):
    history, printed = fit(dense_model, terminal=False)
    lines = [line for line in printed.splitlines() if line.startswith("epoch")]
    first = find_stages(dense_model)[0].name
    assert len(lines) == 3
    for epoch, line in enumerate(lines):
        numbers = [f"{name} {history[name][epoch]:.4f}" for name in history if name != "learning_rate"]
        assert line.startswith(f"epoch {epoch + 1}/3 from {first}: loss")
        assert all(number in line for number in numbers) and re.search(r"; \d+\.\d s$", line)


def test_a_terminal_has_one_bar_with_loss_and_accuracy(dense_model, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    history, printed = fit(dense_model, terminal=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed)
    assert "epoch 3/3" in plain and f"val_accuracy {history['val_accuracy'][-2]:.4f}" in plain
    assert not [line for line in plain.splitlines() if line.startswith("epoch") and line.endswith(" s")]
