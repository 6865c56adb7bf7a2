"""What could be cached is said beforehand, what was cached afterwards."""

import keras
import pytest

import kerasft
from kerasft import CacheReport, inspect_prefix
from kerasft.cache.inspection import why_never


def test_the_share_of_the_forward_pass_by_hand():
    model = keras.Sequential(
        [
            keras.Input((5, 5, 2)),
            keras.layers.Conv2D(4, 3, use_bias=False, trainable=False, name="conv"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(10, use_bias=False),
        ]
    )
    found = inspect_prefix(model)
    # 3×3 positions × (3·3·2) inputs × 4 filters × 2 = 1296 operations; 36 × 10 × 2 = 720
    assert found.share == pytest.approx(1296 / 2016)
    assert (found.cut, found.shape, found.bytes_per_sample) == ("flat", (None, 36), 144)
    assert (
        str(found) == "Cached up to 'flat': 64.3% of the forward pass, 144 bytes a sample, shape (None, 36)."
    )


def test_side_inputs_count():
    a, b = keras.Input((4,)), keras.Input((6,))
    x = keras.layers.Concatenate()([keras.layers.Dense(3, trainable=False)(a), keras.layers.Dense(2)(b)])
    assert inspect_prefix(keras.Model([a, b], keras.layers.Dense(2)(x))).bytes_per_sample == 4 * (3 + 6)


def test_a_size_that_is_not_known():
    inputs = keras.Input((None, 4))
    x = keras.layers.Dense(3, trainable=False)(inputs)
    found = inspect_prefix(keras.Model(inputs, keras.layers.Dense(2)(x)))
    assert found.bytes_per_sample is None and "of varying size" in str(found)


def test_reasons(dense_model):
    assert str(inspect_prefix(dense_model)).startswith("Nothing can be cached. Nothing frozen comes first")
    dense_model.compile(loss="mse", run_eagerly=True)
    assert "eagerly" in inspect_prefix(dense_model).reason == why_never(dense_model)
    assert "is not built" in str(inspect_prefix(keras.Sequential([keras.layers.Dense(1)])))
    with pytest.raises(TypeError, match="expects a Keras model, not str"):
        inspect_prefix("model")


def test_a_hub_model_counts_what_its_stages_compute(tmp_path, make_backbone):
    kerasft.export.to_saved_model(make_backbone(), tmp_path / "saved", reusable=True)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(kerasft.hub.load_backbone(tmp_path / "saved")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    kerasft.freeze(model, "block_2")
    # a convolution of the stem, 8·8 × 27 × 4, and one of each block, 8·8 × 36 × 4 each; a head of 256 × 2
    before = 2 * 64 * 4 * (27 + 36)
    assert inspect_prefix(model).share == pytest.approx(
        before / (before + 2 * 64 * 36 * 4 + 2 * 512), rel=0.1
    )


def test_the_report_of_a_run():
    report = CacheReport([9.0, 5.0, 1.0, 2.0], [False, False, True, True], 100, 2_000_000, 0, "pool")
    assert str(report).endswith("last at 'pool').")  # nothing is known of what it saved
    report.seconds_saved = 7.2
    assert str(report) == (
        "2 of 4 epochs trained from a record of 100 samples (2.0 MB, in memory; last at 'pool'), which saved "
        "about 7 s."
    )
    assert "(0.0 MB, on disk;" in str(CacheReport([1.0], [True], on_disk=True))
    assert "partly on disk" in str(CacheReport([1.0], [True], peak_bytes=1, on_disk=True))
    kept = CacheReport([1.0], [False], 100, kept=True)
    assert str(kept).startswith("100 samples were recorded by an earlier run. No epoch of 1")
    assert str(CacheReport([1.0], [False])) == "No epoch of 1 was trained from a record."
