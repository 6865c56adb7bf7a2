"""Reports on a phase, and the alarm when a frozen weight moves."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft import GradualUnfreezing, Phase
from kerasft.unfreezing.frozen_check import FrozenCheck


def test_a_report_says_what_happened_to_each_stage(dense_model):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 4)).astype("float32"), rng.normal(size=(16, 3)).astype("float32")
    optimizer = kerasft.with_lr_multipliers(
        keras.optimizers.SGD(0.1, weight_decay=0.01), kerasft.layerwise_decay(dense_model, 0.5)
    )
    dense_model.compile(optimizer, "mse")
    before = [w.numpy() for w in dense_model.weights]
    callback = GradualUnfreezing([Phase("top", 1), Phase("second", 2), Phase(0, learning_rate=0.2)])
    dense_model.fit(x, y, epochs=4, batch_size=8, verbose=0, callbacks=[callback])
    assert [(r.index, r.depth, r.epochs) for r in callback.report] == [
        (0, 2, (0, 0)),
        (1, 1, (1, 2)),
        (2, 0, (3, 3)),
    ]
    head, middle, everything = callback.report
    assert [s.trained for s in head.stages] == [False, False, True]
    assert [s.steps for s in middle.stages] == [0, 4, 6]  # two steps an epoch
    assert [s.steps for s in everything.stages] == [2, 6, 8]
    assert head.stages[0].largest_change == 0 == head.stages[1].mean_change
    np.testing.assert_allclose([s.learning_rate for s in everything.stages], [0.05, 0.1, 0.2], rtol=1e-6)
    # decay is scaled with the rate: 0.2 * 0.5 ** i * 0.01
    np.testing.assert_allclose([s.weight_decay for s in everything.stages], [5e-4, 1e-3, 2e-3], rtol=1e-6)
    # `first` moved in the last phase alone, so its change there is its change over all
    change = np.concatenate([np.abs(w - b).ravel() for w, b in zip(dense_model.weights[:2], before)])
    np.testing.assert_allclose(everything.stages[0].largest_change, change.max(), rtol=1e-6)
    np.testing.assert_allclose(everything.stages[0].mean_change, change.mean(), rtol=1e-6)
    assert head.frozen_weights == 4 and everything.frozen_weights == 0
    assert "Phase 1, freeze depth 1, epochs 1 to 2" in str(middle) and "second" in str(middle)


def test_a_frozen_weight_that_moves_is_named(image_model):
    stages = kerasft.freeze(image_model, "block_2")
    frozen = FrozenCheck(stages)
    frozen.check("in epoch 0")
    image_model.get_layer("backbone").get_layer("stem_bn").moving_mean.assign_add(np.full(4, 1e-7))
    with pytest.raises(RuntimeError, match="in epoch 1.*stem_bn/moving_mean"):
        frozen.check("in epoch 1")


@pytest.mark.parametrize(
    ("policy", "still"),
    [("inference", "moving_mean"), ("statistics", "gamma"), ("frozen", "gamma"), ("frozen", "moving_mean")],
)
def test_what_a_policy_keeps_still_is_watched_in_thawed_stages(image_model, policy, still):
    stages = kerasft.unfreeze(image_model, batch_norm=policy)
    frozen = FrozenCheck(stages)
    norm = image_model.get_layer("backbone").get_layer("stem_bn")
    getattr(norm, still).assign_add(np.full(4, 1e-7))
    with pytest.raises(RuntimeError, match=f"stem_bn/{still}"):
        frozen.check("now")


def test_what_is_kept_frozen_is_watched_and_marked():
    """A normalization and a kernel in a stage that trains, and a whole stage."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, name="body"),
            layers.BatchNormalization(name="norm", trainable=False),
            layers.Dense(4, name="fixed", trainable=False),
            layers.Dense(2, name="top"),
        ]
    )
    model.get_layer("body").enable_lora(2)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    fixed = [
        model.get_layer("body")._kernel,
        *model.get_layer("norm").weights,
        *model.get_layer("fixed").weights,
    ]
    callback = GradualUnfreezing([Phase("top", 1), Phase(0)])
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    model.fit(x, x[:, :2], epochs=2, verbose=0, callbacks=[callback])
    marks = [[stage.mark for stage in report.stages] for report in callback.report]
    assert marks == [
        ["no, 2 kept frozen", "kept frozen", "yes"],
        ["yes, 2 kept frozen", "kept frozen", "yes"],
    ]
    assert [report.frozen_weights for report in callback.report] == [3 + 1 + len(fixed) - 1, len(fixed)]
    assert "fixed  kept frozen         " in str(callback.report[1])
    for weight in fixed:
        check = FrozenCheck(callback.stages)
        weight.assign_add(np.full(weight.shape, 1e-6))
        with pytest.raises(RuntimeError, match="Frozen weights changed"):
            check.check("now")
