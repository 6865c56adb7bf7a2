"""A search over models of which a part stays frozen: by flags of the user's, and by `keep_frozen`."""

import keras
import keras_tuner
import numpy as np
import pytest
from small_searches import FIXED, build_model, grid, searched

from kerasft import FreezeDepthSearch


def build():
    """`block_1` is off after a stage that is on, and `block_0` has LoRA."""
    model = build_model()
    backbone = model.get_layer("backbone")
    backbone.get_layer("block_0").enable_lora(2)
    backbone.get_layer("block_1").trainable = False
    return model


def test_every_trial_leaves_what_is_kept_frozen_as_it_was_built(tmp_path):
    """The second epoch is the better one, as trials begin with a head that knows nothing."""
    options = {"keep_frozen": ["block_2"], "warm_start": False, **FIXED}
    search = FreezeDepthSearch(build, [0], ["head_then_all"], **options)
    searched(grid(search, tmp_path), epochs=2)
    (record,) = search.results()
    assert record.status == "completed"
    hp = search.tuner.get_best_hyperparameters()[0]
    (callback,) = search.callbacks(hp, epochs=2)
    assert list(callback.keep_frozen) == ["block_2"]
    tuned = search.build(hp)
    assert not any(v.trainable for v in tuned.get_layer("backbone").get_layer("block_2").variables)
    keras.utils.set_random_seed(search.seed)
    before, model = build().weights, search.best_model()
    moved = {v.path for v, old in zip(model.weights, before, strict=True) if not np.array_equal(v, old)}
    adapted = {f"block_0/{name}" for name in ("bias", "lora_kernel_a", "lora_kernel_b")}
    assert {"/".join(path.split("/")[-2:]) for path in moved} == adapted | {"top/kernel", "top/bias"}


def test_names_that_mean_nothing_are_refused_before_anything_trains(tmp_path):
    with pytest.raises(TypeError, match="received 'block_2'"):
        FreezeDepthSearch(build, keep_frozen="block_2")
    with pytest.raises(ValueError, match="`keep_frozen` names 'nose'"):
        grid(FreezeDepthSearch(build, keep_frozen=["nose"]), tmp_path)


def test_a_search_goes_on_with_what_it_kept_frozen(tmp_path):
    options = {"depths": [1], "recipes": ["frozen_head"], "share": False, **FIXED}
    searched(grid(FreezeDepthSearch(build, keep_frozen=["block_2"], **options), tmp_path, trials=1), epochs=1)
    other = FreezeDepthSearch(build, **options)
    with pytest.raises(keras_tuner.errors.FatalValueError, match="another kept frozen"):
        other.results(grid(other, tmp_path, trials=1))
