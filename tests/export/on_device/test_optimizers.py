"""Steps of SGD and Adam, against Keras's own on the same gradients."""

import keras
import numpy as np
import pytest
from kerasft.export.on_device.optimizers import _power, rule_of

O = keras.optimizers  # noqa: E741
RULES = {
    "sgd": O.SGD(0.05),
    "momentum": O.SGD(0.05, momentum=0.8),
    "nesterov": O.SGD(0.05, momentum=0.8, nesterov=True),
    "adam": O.Adam(0.02),
    "adam, other constants": O.Adam(0.02, beta_1=0.7, beta_2=0.95, epsilon=1e-3),
}


def model(optimizer=None):
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="net")
    if optimizer is not None:
        net.compile(optimizer, "mse")
    return net


@pytest.mark.parametrize("name", RULES)
def test_fifty_steps_are_those_of_keras(name):
    kind = RULES[name]
    rng = np.random.default_rng(0)
    first = {"a": rng.normal(size=(3, 4)).astype("float32"), "b": rng.normal(size=4).astype("float32")}
    variables = [keras.Variable(v, name=k) for k, v in first.items()]
    theirs = type(kind).from_config(kind.get_config())
    rule = rule_of(model(), kind)
    assert rule.learning_rate == pytest.approx(float(kind.learning_rate))
    state, rate = {**first, **rule.slots(first)}, np.array([rule.learning_rate], "float32")
    for _ in range(50):
        gradients = {k: rng.normal(size=v.shape).astype("float32") for k, v in first.items()}
        theirs.apply([gradients[v.name] for v in variables], variables)
        slots = {k: v for k, v in state.items() if k not in first}
        state = rule.step({k: state[k] for k in first}, gradients, slots, rate)
    for v in variables:
        np.testing.assert_allclose(state[v.name], v.numpy(), rtol=1e-5, atol=1e-6)
    slots = {"sgd": [], "momentum": ["momentum"], "nesterov": ["momentum"]}.get(name, ["m", "v"])
    assert state.keys() == {
        *first,
        *(f"{k}_{s}" for k in first for s in slots),
        *(["step"] if "m" in slots else []),
    }


def test_by_hand():
    """Two steps of 2.0 with the gradient 1.0: momentum 0.5 and the rate 0.1."""
    rule = rule_of(model(), O.SGD(0.1, momentum=0.5))
    first, rate = {"w": np.float32([2.0])}, np.float32([0.1])
    one = rule.step(first, {"w": np.float32([1.0])}, rule.slots(first), rate)
    assert one["w"][0] == pytest.approx(1.9)  # 2.0 - 0.1
    two = rule.step({"w": one["w"]}, {"w": np.float32([1.0])}, {"w_momentum": one["w_momentum"]}, rate)
    assert two["w"][0] == pytest.approx(1.75)  # 1.9 - 0.1 - 0.5 * 0.1


@pytest.mark.parametrize("base", [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999])
def test_powers(base):
    steps = np.unique(np.r_[np.arange(1, 300), np.geomspace(300, 1e6, 200).round()]).astype("float32")
    exact = np.power(np.float64(np.float32(base)), steps)
    found = np.array([_power(base, np.float32([step]))[0] for step in steps])
    np.testing.assert_allclose(found, exact, rtol=2e-7, atol=2e-8)


def test_the_compiled_optimizer_is_the_default():
    rule = rule_of(model(O.Adam(3e-4)))
    assert (rule.name, rule.learning_rate) == ("adam", pytest.approx(3e-4))
    assert rule.constants == {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    assert rule_of(model(O.LossScaleOptimizer(O.Adam(3e-4)))) == rule
    assert rule_of(model(O.AdamW(1e-3)), "sgd").constants == {"momentum": 0.0, "nesterov": False}


@pytest.mark.parametrize(
    ("compiled", "given", "why"),
    [
        (None, None, "'net' is not compiled.*optimizer="),
        ("adamw", None, "AdamW, which the model was compiled with, does not run.*optimizer="),
        (None, "rmsprop", "^RMSprop does not run"),
        (None, O.Adam(amsgrad=True), "'amsgrad': True"),
        (None, O.Adam(clipnorm=1.0), "'clipnorm': 1.0"),
        (O.SGD(weight_decay=1e-4), None, "'weight_decay': 0.0001"),
        (None, O.SGD(use_ema=True), "'use_ema': True"),
        (None, O.SGD(gradient_accumulation_steps=2), "'gradient_accumulation_steps': 2"),
    ],
)
def test_others_are_refused(compiled, given, why):
    with pytest.raises(ValueError, match=why):
        rule_of(model(compiled), given)
