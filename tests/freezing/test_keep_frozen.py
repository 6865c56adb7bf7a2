"""What the user froze, or names in `keep_frozen`, stays frozen; `everything` lets all of it train."""

import logging
import re

import frozen_parts
import keras
import numpy as np
import pytest

import kerasft
from kerasft import _keras
from kerasft.freezing.keep_frozen import check_keep_frozen


def flags(model):
    """Every flag of a model."""
    return (
        [(layer.name, layer.trainable) for layer in _keras.sublayers(model)],
        [(v.path, v.trainable) for v in model.variables],
    )


@pytest.mark.parametrize("build", frozen_parts.KEPT, ids=lambda build: build.__name__)
def test_a_thaw_gives_back_the_flags_that_the_user_set(build):
    model = build()
    stages, as_built = kerasft.find_stages(model), flags(model)
    trained = [v.path for v in model.trainable_variables]  # by plain Keras
    for _ in range(2):
        for depth in range(len(stages), -1, -1):
            kerasft.freeze(stages, depth)
            assert kerasft.freeze_depth(stages) == depth
            frozen = {v.path for stage in stages[:depth] for v in stage.weights}
            assert [v.path for v in model.trainable_variables] == [p for p in trained if p not in frozen]
        assert flags(model) == as_built
        with kerasft.frozen(stages, 1, keep_frozen=["top"] if "top" in stages.names else [], everything=True):
            assert flags(model) != as_built
        assert flags(model) == as_built
    kerasft.unfreeze(model, everything=True)
    on = [v for layer in _keras.sublayers(model) for v in _keras.own_trainable_variables(layer)]
    assert all(v.trainable for v in on) and all(layer.trainable for layer in _keras.sublayers(model))
    kerasft.freeze(stages, 1)
    kerasft.unfreeze(model)  # what was said of everything counts until flags change again
    assert {id(v) for v in model.trainable_variables} == {id(v) for v in on}


@pytest.mark.parametrize("policy", ["train", "inference", "statistics", None])
def test_a_normalization_that_is_off_stays_off_under_every_policy(policy):
    model = frozen_parts.normalizations_off()
    kerasft.freeze(model, "top", policy)
    kerasft.unfreeze(model, policy)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    weights = [w for name in ("norm", "plain_norm") for w in model.get_layer(name).weights]
    before, body = [w.numpy() for w in weights], model.get_layer("body").kernel.numpy()
    statistics = model.get_layer("trained_norm").moving_mean.numpy()
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    model.fit(x, x[:, :2], batch_size=8, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, weights))
    assert not np.array_equal(body, model.get_layer("body").kernel)
    adapts = not np.array_equal(statistics, model.get_layer("trained_norm").moving_mean)
    assert adapts == (policy != "inference")


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("block_1_a_bn", {"block_1_a_bn"}),
        ("backbone/block_1_a_bn", {"block_1_a_bn"}),
        ("block_?_a_bn", {"block_1_a_bn", "block_2_a_bn"}),
        ("block_2", {"block_2_a_conv", "block_2_a_bn", "block_2_b_conv"}),  # a stage
        ("logits", {"logits"}),
        ("backbone/block*", {f"block_{i}_{name}" for i in (1, 2) for name in ("a_conv", "a_bn", "b_conv")}),
    ],
)
def test_keep_frozen_names_layers_by_name_path_pattern_and_stage(address, kept, image_model):
    def trained():
        return {v.path.split("/")[-2] for v in image_model.trainable_variables}

    everything = trained()
    kerasft.unfreeze(image_model, keep_frozen=[address])
    assert trained() == everything - kept
    kerasft.freeze(image_model, 1, keep_frozen=[address])
    assert trained() == everything - kept - {"stem_conv", "stem_bn"}
    kerasft.unfreeze(image_model, everything=True, keep_frozen=[address])
    assert trained() == everything - kept
    kerasft.unfreeze(image_model)  # it counts for one call
    assert trained() == everything


def test_keep_frozen_keeps_a_prefix_that_would_be_a_depth(image_model, caplog):
    image_model.get_layer("backbone").trainable = False
    with caplog.at_level(logging.INFO, "kerasft"):
        kerasft.freeze(image_model, 1, keep_frozen=["block_2"])
    assert {v.path.split("/")[-2] for v in image_model.trainable_variables} == {
        "block_1_a_conv", "block_1_a_bn", "block_1_b_conv", "logits",
    }  # fmt: skip
    thawed, kept = caplog.messages
    assert "Freeze depth 1 thaws 3 layers that you had frozen" in thawed and "keep_frozen=[...]" in thawed
    assert "block_2_a_conv, block_2_a_bn, block_2_b_conv." in kept and "everything=True" in kept
    caplog.clear()
    kerasft.freeze(image_model, "head")
    assert caplog.messages == []  # nothing is thawed, and nothing kept


def test_the_log_names_some_of_what_is_kept(image_model, caplog):
    with caplog.at_level(logging.INFO, "kerasft"):
        kerasft.unfreeze(image_model, keep_frozen=["backbone"])
    assert "stem_conv, stem_bn, block_1_a_conv, block_1_a_bn, block_1_b_conv and 3 more" in caplog.text


@pytest.mark.parametrize(
    ("named", "error", "message"),
    [
        ("body", TypeError, "keep_frozen is a list of layers' names, paths or patterns; received 'body'."),
        ([1], TypeError, "received [1] in it"),
        (None, TypeError, "received None"),
        (["nose"], ValueError, "`keep_frozen` names 'nose', which is no layer and no stage. There are the"),
        (["*/inner", "x*"], ValueError, "names 'x*', which is no layer"),
        (["drop"], ValueError, "names 'drop', which has no weights"),
        (["inner"], ValueError, "the name of 2 layers: ['student/inner', 'teacher/inner']"),
    ],
)
def test_names_that_mean_nothing_or_too_much_are_refused(named, error, message):
    inputs = x = keras.Input((4,))
    for name in ("student", "teacher"):
        x = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="inner")], name=name)(x)
    x = keras.layers.Dropout(0.1, name="drop")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="body")(x))
    before = flags(model)
    for call in (
        lambda: kerasft.freeze(model, 1, keep_frozen=named),
        lambda: kerasft.unfreeze(model, keep_frozen=named),
        lambda: kerasft.frozen(model, 1, keep_frozen=named).__enter__(),
    ):
        with pytest.raises(error, match=re.escape(message)):
            call()
    assert flags(model) == before
    if error is TypeError:
        with pytest.raises(error, match=re.escape(message)):
            check_keep_frozen(named)


def test_a_layer_that_rewrites_its_kernel_is_not_kept_frozen_in_name_only():
    spectral = keras.layers.SpectralNormalization(keras.layers.Dense(4), name="spectral")
    layers = [keras.layers.Dense(3, name="body"), spectral, keras.layers.Dense(2, name="top")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    with pytest.raises(ValueError, match="layer 'spectral' is a SpectralNormalization"):
        kerasft.unfreeze(model, keep_frozen=["spectral"])
    assert len(model.trainable_variables) == 6


class Tied(keras.layers.Layer):
    """Multiplies by the kernel of another layer."""

    def __init__(self, other, **kwargs):
        super().__init__(**kwargs)
        self.tied = other.kernel
        self.shift = self.add_weight(shape=(4,), name="shift")

    def call(self, x):
        return x @ keras.ops.transpose(self.tied) + self.shift


def test_a_weight_that_two_layers_hold_stays_frozen_with_either():
    body = keras.layers.Dense(3, name="body")
    body.build((None, 4))
    model = keras.Sequential(
        [keras.Input((4,)), body, Tied(body, name="tied"), keras.layers.Dense(2, name="top")]
    )
    stages = kerasft.find_stages(model)
    kerasft.freeze(stages, "tied")
    assert not body.kernel.trainable and len(model.trainable_variables) == 3
    kerasft.unfreeze(stages, keep_frozen=["body"])
    assert not body.kernel.trainable and len(model.trainable_variables) == 3
    kerasft.unfreeze(stages)
    assert body.kernel.trainable and len(model.trainable_variables) == 5


@pytest.mark.parametrize("build", [frozen_parts.lora_dense, frozen_parts.normalizations_off])
def test_a_loaded_file_keeps_the_same_frozen(build, tmp_path):
    """Keras writes a flag for each layer, and LoRA's rank; what is kept comes back from these."""
    model = build()
    trained = len(kerasft.unfreeze(model).model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    kerasft.freeze(loaded, "top")
    kerasft.unfreeze(loaded)
    assert len(loaded.trainable_variables) == trained


def test_a_model_that_is_off_as_a_whole_thaws_but_for_what_lora_adapts():
    model = frozen_parts.lora_dense()
    trained = [v.path for v in model.trainable_variables]
    model.trainable = False
    kerasft.unfreeze(model)
    assert [v.path for v in model.trainable_variables] == trained


def test_depths_of_a_model_whose_first_stage_is_kept(dense_model):
    for depth in (0, 1, 2, 3, 0):
        kerasft.freeze(dense_model, depth, keep_frozen=["first"])
        assert kerasft.freeze_depth(dense_model) == depth
    with kerasft.frozen(dense_model, 2):
        assert kerasft.freeze_depth(dense_model) == 2
    assert kerasft.freeze_depth(dense_model) == 0
    dense_model.get_layer("second").trainable = False  # by hand, so the flags alone are known
    assert kerasft.freeze_depth(dense_model) == 2


def test_keras_hubs_lora_leaves_nothing_else_to_train():
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=9, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=8, max_sequence_length=4
    )
    inputs = {key: keras.Input((4,), dtype="int32", name=key) for key in backbone.input}
    outputs = keras.layers.Dense(2, name="top")(backbone(inputs)["pooled_output"])
    model = keras.Model(inputs, outputs)
    starts = ["token_embedding", "transformer_layer_0", "transformer_layer_1", "top"]
    stages = kerasft.find_stages(model, at=starts)
    kerasft.freeze(stages, "top")  # a head was trained before
    backbone.enable_lora(2)
    before = flags(model)
    trained = {v.path for v in model.trainable_variables}
    assert {path.split("/")[-1] for path in trained} == {"kernel", "bias", "lora_kernel_a", "lora_kernel_b"}
    for depth in (3, 2, 0):
        kerasft.freeze(stages, depth)
    assert {v.path for v in model.trainable_variables} == trained and flags(model)[1] == before[1]
    assert "kept frozen" in str(stages).split("token_embedding")[1].split("\n")[0]
    kerasft.unfreeze(stages, everything=True)
    assert len(model.trainable_variables) == len(model.weights)
