"""Against PyTorch's parameter groups and timm's layer decay: see tests/data/make_torch_trajectories.py."""

from pathlib import Path

import keras
import numpy as np
import pytest

import kerasft
from kerasft import GradualUnfreezing, Phase
from kerasft.learning_rates.multipliers import Multipliers

STORED = dict(np.load(Path(__file__).parents[2] / "data" / "torch_trajectories.npz"))
LAYERS = ("stem", "block_1", "block_2", "head")
FACTORS = {"stem": 0.125, "block_1": 0.25, "block_2": 0.5, "head": 1.0}
DEPTHS = {"thaws": (3, 2, 1, 0), "refreezes": (3, 0, 2, 0)}  # 50 steps each
BETAS = (0.875, 1 - 2**-10)  # exact in float32, to which Keras rounds them
OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(2**-7, *BETAS, epsilon=1e-14),
    "adamw": lambda: keras.optimizers.AdamW(2**-7, 0.125, *BETAS, epsilon=1e-14),
    "sgd": lambda: keras.optimizers.SGD(2**-3),
    "momentum": lambda: keras.optimizers.SGD(2**-6, momentum=0.875),
    "nesterov": lambda: keras.optimizers.SGD(2**-6, momentum=0.875, nesterov=True),
}


@pytest.fixture(autouse=True)
def _float64():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(before)


class Weights(keras.callbacks.Callback):
    """Copies of the weights after chosen steps."""

    def on_train_begin(self, logs=None):
        self.steps, self.seen = 0, {}

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps in STORED["checkpoints"]:
            self.seen[self.steps] = {
                f"{layer.name}/{k}": getattr(layer, k).numpy()
                for layer in self.model.layers
                for k in ("kernel", "bias")
            }


def train(optimizer, plan):
    """Weights after each checkpoint of a fit of four epochs of 50 steps."""
    net = keras.Sequential([keras.Input((5,))], name="net")
    for name in LAYERS:
        net.add(
            keras.layers.Dense(3 if name == "head" else 8, "linear" if name == "head" else "tanh", name=name)
        )
        net.layers[-1].kernel.assign(STORED[f"start/{name}/kernel"])
        net.layers[-1].bias.assign(STORED[f"start/{name}/bias"])
    net.compile(kerasft.with_lr_multipliers(optimizer, FACTORS, model=net), "mse")
    phases = [Phase(depth, 1) for depth in DEPTHS[plan]]
    weights = Weights()

    def data():
        yield from zip(STORED["x"], STORED["y"])

    callbacks = [GradualUnfreezing(phases), weights]
    net.fit(data(), steps_per_epoch=50, epochs=4, verbose=0, shuffle=False, callbacks=callbacks)
    return weights.seen


@pytest.mark.parametrize("plan", DEPTHS)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_200_steps_with_thaws_equal_pytorchs(kind, plan):
    seen = train(OPTIMIZERS[kind](), plan)
    assert list(seen) == list(STORED["checkpoints"])
    for step, weights in seen.items():
        for path, value in weights.items():
            expected = STORED[f"{kind}/{plan}/{step}/{path}"]
            np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-9, err_msg=f"{step} {path}")
    start = STORED["start/stem/kernel"]
    thawed = 151 if plan == "thaws" else 51
    for step, weights in seen.items():
        assert np.array_equal(weights["stem/kernel"], start) == (step < thawed)


def test_one_step_count_for_all_would_not_do(monkeypatch):
    """The same comparison fails by far where a late variable has the optimizer's age."""
    optimizer = OPTIMIZERS["adam"]()
    kerasft.with_lr_multipliers(optimizer, Multipliers({}))
    read = type(optimizer)._reading

    def old(self):
        self._variable_steps.assign(
            keras.ops.ones_like(self._variable_steps) * keras.ops.cast(self._iterations, "int64")
        )
        return read(self)

    monkeypatch.setattr(type(optimizer), "_reading", old)
    seen = train(optimizer, "thaws")
    difference = np.abs(seen[51]["block_2/kernel"] - STORED["adam/thaws/51/block_2/kernel"]).max()
    assert difference > 1e-4  # a hundred million times what it is


@pytest.mark.parametrize(("count", "decay"), [(3, 0.65), (4, 0.8), (12, 0.75)])
def test_layerwise_decay_equals_timms(count, decay):
    """timm/optim/_param_groups.py: layer_scales = layer_decay ** (layer_max - i), the head's being 1."""
    net = keras.Sequential(
        [keras.Input((2,)), *(keras.layers.Dense(2, name=f"layer_{i}") for i in range(count))]
    )
    factors = kerasft.layerwise_decay(net, decay)
    mine = [factors[layer.kernel.path] for layer in net.layers]
    np.testing.assert_allclose(mine, STORED[f"timm/{count}/{decay}"], rtol=1e-12)
