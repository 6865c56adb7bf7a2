"""Keras knows the classes that saved models name after `import kerasft`, and before they are loaded."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import keras
import pytest

import kerasft.hub
from kerasft import saved_classes
from kerasft._keras.optimizer import lr_multipliers, variants

EARLIER = Path(__file__).parent / "data" / "earlier" / "model.keras"


def ours():
    return {k: v for k, v in keras.saving.get_custom_objects().items() if k.startswith("kerasft>")}


@pytest.fixture
def forgotten(monkeypatch):
    """Keras as it is before a module of kerasft is loaded."""
    for name in ours():
        monkeypatch.delitem(keras.saving.get_custom_objects(), name)


def test_the_list_is_that_of_all_classes_that_register_themselves():
    assert set(ours()) == set(saved_classes._MODULES)


def test_stand_ins_make_the_real_thing(forgotten):
    saved_classes.register()
    assert kerasft.hub.HubStage not in ours().values() and len(ours()) == len(saved_classes._MODULES)
    model = keras.models.load_model(EARLIER)
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    assert any(isinstance(layer, kerasft.hub.HubStage) for layer in backbone.layers)
    assert isinstance(model.optimizer, variants.ScaledLrMultipliers)
    assert isinstance(model.optimizer.inner_optimizer, lr_multipliers.LrMultipliers)


def test_classes_that_are_loaded_stay(forgotten, monkeypatch):
    own = lr_multipliers.LrMultipliers
    monkeypatch.setitem(keras.saving.get_custom_objects(), "kerasft>LrMultipliers", own)
    saved_classes.register()
    assert ours()["kerasft>LrMultipliers"] is own and len(ours()) == len(saved_classes._MODULES)


def test_before_keras_is_imported_it_waits_and_leaves_no_trace(monkeypatch, tmp_path):
    """With a module in Keras's place: it is looked for, then imported."""
    (tmp_path / "keras.py").write_text(
        "class saving:\n    known = {}\n    get_custom_objects = lambda: saving.known\n"
    )
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    saved_classes.register()
    assert len(sys.meta_path) == len(before) + 1
    assert importlib.util.find_spec("keras").origin == str(tmp_path / "keras.py")  # as others ask for it
    assert importlib.util.find_spec("no_such_module") is None
    module = importlib.import_module("keras")
    assert set(module.saving.known) == set(saved_classes._MODULES)
    assert sys.meta_path == before and isinstance(module, ModuleType)
    assert type(module.__spec__.loader) is type(module.__loader__) is importlib.machinery.SourceFileLoader


@pytest.mark.parametrize(("policy", "kept"), [(None, True), ("inference", False), ("statistics", False)])
def test_a_policy_for_batch_normalization_is_given_again(tmp_path, policy, kept):
    """Keras saves flags of layers, not of weights: README says to freeze again, which is enough."""
    layers = [
        keras.layers.Dense(3, name="a"),
        keras.layers.Dense(3, name="b"),
        keras.layers.BatchNormalization(),
    ]
    model = keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(1)])
    kerasft.freeze(model, 1, batch_norm=policy)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    flags = [[v.trainable for v in weights.variables] for weights in (model, loaded)]
    assert (flags[0] == flags[1]) is kept
    kerasft.freeze(loaded, 1, batch_norm=policy, everything=True)
    assert flags[0] == [v.trainable for v in loaded.variables]
    assert [layer.trainable for layer in loaded.layers] == [layer.trainable for layer in model.layers]
