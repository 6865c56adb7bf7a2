import keras
import numpy as np
import pytest

from kerasft.search.trial.checkpoint import (
    is_checkpoint,
    read_checkpoint,
    weight_fingerprints,
    with_checkpoint_loading,
    without_checkpoint_loading,
    write_checkpoint,
)


def build(units=3, seed=0, dtype=None):
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(200, name="body", dtype=dtype), keras.layers.BatchNormalization(name="bn")]
    return keras.Sequential(
        [keras.Input((50,)), *layers, keras.layers.Dense(units, name="top", dtype=dtype)], name="net"
    )


def change(model, names=("top",)):
    for layer in model.layers:
        if layer.name in names:
            for weight in layer.weights:
                weight.assign(weight + 1)


def test_it_holds_what_changed_and_nothing_else(tmp_path):
    model = build()
    before = weight_fingerprints(model)
    change(model)
    write_checkpoint(tmp_path / "a.weights.h5", model, before, {"steps:net|top": np.arange(3)})
    assert (tmp_path / "a.weights.h5").stat().st_size < 16_000 < 4 * model.count_params()
    other = build()
    extra = read_checkpoint(tmp_path / "a.weights.h5", other)
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert list(extra) == ["steps:net|top"] and extra["steps:net|top"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["a.weights.h5"]


def test_moving_statistics_that_moved_are_in_it(tmp_path):
    model = build()
    before = weight_fingerprints(model)
    model.get_layer("bn").moving_mean.assign(np.full(200, 3.0))
    write_checkpoint(tmp_path / "a.h5", model, before)
    other = build()
    read_checkpoint(tmp_path / "a.h5", other)
    assert other.get_layer("bn").moving_mean.numpy().tolist() == [3.0] * 200


def test_bfloat16_survives(tmp_path):
    model = build(dtype="bfloat16")
    before = weight_fingerprints(model)
    change(model)
    slot = model.get_layer("top").kernel.numpy()
    write_checkpoint(tmp_path / "a.h5", model, before, {"slot": slot})
    other = build(dtype="bfloat16")
    extra = read_checkpoint(tmp_path / "a.h5", other)
    expected = np.asarray(model.get_layer("top").kernel.numpy())
    assert other.get_layer("top").kernel.numpy().tobytes() == expected.tobytes() == extra["slot"].tobytes()
    assert extra["slot"].dtype == slot.dtype


def test_a_model_that_does_not_fit_is_refused_and_left_alone(tmp_path):
    model = build()
    before = weight_fingerprints(model)
    change(model)
    write_checkpoint(tmp_path / "a.h5", model, before)
    other = build(seed=1)
    was = weight_fingerprints(other)
    with pytest.raises(ValueError, match="leaves out 'net/body/kernel'.*has other values there"):
        read_checkpoint(tmp_path / "a.h5", other)
    assert weight_fingerprints(other) == was
    with pytest.raises(
        ValueError, match=r"has the shape \(200, 3\) for 'net/top/kernel', the model \(200, 4\)"
    ):
        read_checkpoint(tmp_path / "a.h5", build(units=4))
    small = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="small")
    with pytest.raises(ValueError, match="a model with 8 weights; 'small' has 2"):
        read_checkpoint(tmp_path / "a.h5", small)


def test_keras_own_load_weights_reads_it_and_keras_own_files_too(tmp_path):
    model = build()
    before = weight_fingerprints(model)
    change(model)
    write_checkpoint(tmp_path / "a.weights.h5", model, before)
    model.save_weights(tmp_path / "plain.weights.h5")
    assert is_checkpoint(tmp_path / "a.weights.h5") and not is_checkpoint(tmp_path / "plain.weights.h5")
    assert not is_checkpoint(tmp_path / "none")
    for name in ("a", "plain"):
        other = with_checkpoint_loading(build())
        assert type(other) is not keras.Sequential and isinstance(other, keras.Sequential)
        other.load_weights(tmp_path / f"{name}.weights.h5")
        np.testing.assert_array_equal(
            other.get_layer("top").kernel.numpy(), model.get_layer("top").kernel.numpy()
        )


def test_a_missing_checkpoint_says_why(tmp_path):
    with pytest.raises(FileNotFoundError, match="keeps only those of its best trials"):
        with_checkpoint_loading(build()).load_weights(tmp_path / "none.weights.h5")


def test_the_checkpoint_of_the_trial_before_is_not_loaded(tmp_path):
    model = with_checkpoint_loading(build(), skip="trial_3")
    was = weight_fingerprints(model)
    model.load_weights(tmp_path / "trial_3" / "a.weights.h5")
    assert weight_fingerprints(model) == was
    with pytest.raises(FileNotFoundError):
        model.load_weights(tmp_path / "trial_4" / "a.weights.h5")


@pytest.mark.parametrize("functional", [False, True])
def test_a_model_with_the_mixin_trains_saves_and_is_loaded_as_what_it_is(tmp_path, functional):
    model = build()
    if functional:
        model = keras.Model(model.inputs, model.outputs)
    original = type(model)
    model = with_checkpoint_loading(with_checkpoint_loading(model))
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 50)), np.ones((4, 3)), verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert type(loaded) is original
    np.testing.assert_array_equal(
        loaded.predict(np.ones((1, 50)), verbose=0), model.predict(np.ones((1, 50)), verbose=0)
    )
    assert type(without_checkpoint_loading(model)) is original
    assert type(without_checkpoint_loading(model)) is original


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    model = build()
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "folder.h5" / "x").touch()
    with pytest.raises(OSError, match="can't be written"):
        write_checkpoint(tmp_path / "folder.h5", model, weight_fingerprints(model))
    assert [p.name for p in tmp_path.iterdir()] == ["folder.h5"]
