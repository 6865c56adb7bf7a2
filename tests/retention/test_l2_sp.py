"""L2-SP against numpy: w <- w - rate * factor * strength * (w - w0), then the optimizer's own step."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft import GradualUnfreezing, Phase

X = np.array([[1.0, -2.0], [0.5, 1.0]], "float32")
Y = np.array([[1.0], [-1.0]], "float32")
RATE, STRENGTH, DECAY, STEPS = 0.1, 0.3, 0.2, 4


def linear(names=("body", "top")):
    """y = x A b, without biases: gradients are known in closed form."""
    net = keras.Sequential([keras.Input((2,))], name="net")
    net.add(keras.layers.Dense(2, use_bias=False, name=names[0]))
    net.add(keras.layers.Dense(1, use_bias=False, name=names[1]))
    net.layers[0].kernel.assign([[1.0, 0.5], [-0.5, 1.0]])
    net.layers[1].kernel.assign([[1.0], [2.0]])
    return net


class ByHand:
    """SGD or Adam in numpy, with decay towards anchors, for the model `linear`."""

    def __init__(self, kind, anchors, factors, decay):
        self.w = [np.array([[1.0, 0.5], [-0.5, 1.0]]), np.array([[1.0], [2.0]])]
        self.kind, self.anchors, self.factors, self.decay = kind, anchors, factors, decay
        self.m, self.v, self.t = [0.0, 0.0], [0.0, 0.0], [0, 0]

    def step(self, trains=(True, True)):
        a, b = self.w
        error = 2 * (X @ a @ b - Y) / len(X)  # the gradient of the mean squared error
        for i, g in enumerate((X.T @ error @ b.T, (X @ a).T @ error)):
            if not trains[i]:
                continue
            rate, w = RATE * self.factors[i], self.w[i]
            if self.anchors[i] is not None:
                w = w - rate * STRENGTH * (w - self.anchors[i])
            else:
                w = w - rate * self.decay * w
            self.t[i] += 1
            if self.kind == "SGD":
                self.w[i] = w - rate * g
                continue
            self.m[i] = 0.9 * self.m[i] + 0.1 * g
            self.v[i] = 0.999 * self.v[i] + 0.001 * g**2
            m, v = self.m[i] / (1 - 0.9 ** self.t[i]), self.v[i] / (1 - 0.999 ** self.t[i])
            self.w[i] = w - rate * m / (np.sqrt(v) + 1e-7)


def same(net, hand):
    for variable, value in zip(net.weights, hand.w, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-4, atol=1e-5)  # float32 by float64


OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(RATE),
    "Adam": lambda: keras.optimizers.Adam(RATE),
    "AdamW": lambda: keras.optimizers.AdamW(RATE, DECAY),
}


@pytest.mark.parametrize("order", ["decay first", "multipliers first"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_steps_equal_the_formula(kind, order):
    net, optimizer = linear(), OPTIMIZERS[kind]()
    anchor = np.array([[0.5, 0.5], [0.0, 2.0]])  # pre-trained values other than those now
    reference = [anchor, net.weights[1].numpy()]
    wraps = [
        lambda o: kerasft.with_l2_sp(o, STRENGTH, net, reference=reference, shared="top"),
        lambda o: kerasft.with_lr_multipliers(o, {"body": 0.5}, model=net),
    ]
    for wrap in wraps if order == "decay first" else wraps[::-1]:
        assert wrap(optimizer) is optimizer
    net.compile(optimizer, "mse")
    net.fit(X, Y, epochs=STEPS, verbose=0)
    hand = ByHand(kind[:4].rstrip("W"), [anchor, None], [0.5, 1.0], DECAY if kind == "AdamW" else 0.0)
    for _ in range(STEPS):
        hand.step()
    same(net, hand)
    plain = ByHand(hand.kind, [None, None], [0.5, 1.0], hand.decay)
    for _ in range(STEPS):
        plain.step()
    assert np.abs(plain.w[0] - hand.w[0]).max() > 1e-3  # the anchor matters


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_later_thaw_decays_towards_the_pre_trained_values(kind):
    net = linear()
    start = net.weights[0].numpy()
    optimizer = kerasft.with_l2_sp(OPTIMIZERS[kind](), STRENGTH, net, shared="top")
    kerasft.with_lr_multipliers(optimizer, {"body": 0.5}, model=net)
    net.compile(optimizer, "mse")
    net.fit(X, Y, epochs=6, verbose=0, callbacks=[GradualUnfreezing([Phase("top", 2), Phase(0, 4)])])
    hand = ByHand(kind, [start, None], [0.5, 1.0], 0.0)
    for step in range(6):
        hand.step((step >= 2, True))
    same(net, hand)


def test_saved_and_loaded_in_the_middle_it_goes_on_to_the_same_weights(tmp_path):
    net = linear()
    start = net.weights[0].numpy()
    net.compile(kerasft.with_l2_sp(OPTIMIZERS["Adam"](), STRENGTH, net, shared="top"), "mse")
    net.fit(X, Y, epochs=3, verbose=0)
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    for model in (net, loaded):
        model.fit(X, Y, epochs=3, verbose=0)
    hand = ByHand("Adam", [start, None], [1.0, 1.0], 0.0)
    for _ in range(6):
        hand.step()
    same(net, hand)
    same(loaded, hand)


def test_a_weight_thawed_after_loading_has_its_anchor(tmp_path):
    net = linear()
    start = net.weights[0].numpy()
    net.compile(kerasft.with_l2_sp(OPTIMIZERS["Adam"](), STRENGTH, net, shared="top"), "mse")
    kerasft.freeze(net, "top")
    net.fit(X, Y, epochs=2, verbose=0)
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    kerasft.unfreeze(loaded)
    loaded.fit(X, Y, epochs=4, verbose=0)
    hand = ByHand("Adam", [start, None], [1.0, 1.0], 0.0)
    for step in range(6):
        hand.step((step >= 2, True))
    same(loaded, hand)


def test_a_run_that_is_resumed_keeps_the_pre_trained_anchors(tmp_path):
    """The second process has the pre-trained model again; the backup brings the trained weights."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    for callbacks in ([Stop()], []):
        net = linear()
        start = net.weights[0].numpy()
        net.compile(kerasft.with_l2_sp(OPTIMIZERS["Adam"](), STRENGTH, net, shared="top"), "mse")
        backup = kerasft.BackupAndRestore(tmp_path / "run")
        try:
            net.fit(X, Y, epochs=6, verbose=0, callbacks=[backup, *callbacks])
        except KeyboardInterrupt:
            assert callbacks
    hand = ByHand("Adam", [start, None], [1.0, 1.0], 0.0)
    for _ in range(6):
        hand.step()
    same(net, hand)


def test_called_again_on_a_loaded_model_it_changes_the_strength_alone(tmp_path):
    net = linear()
    start = net.weights[0].numpy()
    net.compile(kerasft.with_l2_sp(OPTIMIZERS["SGD"](), 2.0, net, shared="top"), "mse")
    net.fit(X, Y, epochs=1, verbose=0)
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    hand = ByHand("SGD", [start, None], [1.0, 1.0], 0.0)
    hand.w = [v.numpy().astype("float64") for v in loaded.weights]
    kerasft.with_l2_sp(loaded.optimizer, STRENGTH, loaded)
    loaded.fit(X, Y, epochs=2, verbose=0)
    for _ in range(2):
        hand.step()
    same(loaded, hand)


def test_a_clone_and_its_copied_optimizer_decay_towards_the_same_values():
    net = linear()
    start = net.weights[0].numpy()
    optimizer = kerasft.with_l2_sp(OPTIMIZERS["SGD"](), STRENGTH, net, shared="top")
    optimizer.build(net.trainable_variables)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    clone = keras.models.clone_model(net)
    clone.set_weights(net.get_weights())
    clone.compile(copy, "mse")
    clone.fit(X, Y, epochs=2, verbose=0)
    hand = ByHand("SGD", [start, None], [1.0, 1.0], 0.0)
    for _ in range(2):
        hand.step()
    same(clone, hand)


def test_a_copied_optimizer_on_other_values_is_refused():
    net = linear()
    optimizer = kerasft.with_l2_sp(OPTIMIZERS["SGD"](), STRENGTH, net, shared="top")
    optimizer.build(net.trainable_variables)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    net.layers[0].kernel.assign(np.ones((2, 2)))  # trained since
    net.compile(copy, "mse")
    with pytest.raises(ValueError, match=r"other values for \['net/body/kernel'\].*with_l2_sp"):
        net.fit(X, Y, verbose=0)


def test_the_share_that_decays_is_reported():
    net = linear()
    optimizer = kerasft.with_l2_sp(OPTIMIZERS["AdamW"](), STRENGTH, net, shared="top")
    kerasft.with_lr_multipliers(optimizer, {"body": 0.5}, model=net)
    optimizer.build(net.trainable_variables)
    shares = [optimizer.decay_of(v) for v in net.weights]
    np.testing.assert_allclose(shares, [RATE * 0.5 * STRENGTH, RATE * DECAY], rtol=1e-6)


def test_vectors_are_left_out_with_the_multipliers_option():
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="body"), keras.layers.Dense(1)])
    optimizer = kerasft.with_l2_sp(keras.optimizers.SGD(RATE), STRENGTH, net, reference=net)
    kerasft.with_lr_multipliers(optimizer, {"*": 1.0}, model=net, decay_vectors=False)
    optimizer.build(net.trainable_variables)
    before = [v.numpy() for v in net.weights]
    for v in net.weights:
        v.assign_add(np.ones(v.shape))
    optimizer.apply([np.zeros(v.shape, "float32") for v in net.weights])
    moved = [1.0 + b - v.numpy() for v, b in zip(net.weights, before)]
    for change, variable in zip(moved, net.weights):  # 0.1 * 0.3 * 1 = 0.03
        np.testing.assert_allclose(change, 0.03 if len(variable.shape) > 1 else 0.0, atol=1e-6)


def test_a_backbone_in_the_model_is_what_is_pre_trained(image_model):
    optimizer = kerasft.with_l2_sp(keras.optimizers.SGD(RATE), STRENGTH, image_model)
    optimizer.build(image_model.trainable_variables)
    head = {id(v) for v in image_model.get_layer("logits").weights}
    for variable in image_model.trainable_variables:
        anchor = optimizer.anchor_of(variable)
        assert (anchor is None) == (id(variable) in head)
        if anchor is not None:
            np.testing.assert_array_equal(anchor.numpy(), variable.numpy())


def test_the_name_of_a_layer_does_not_tell_what_is_pre_trained():
    dense = [keras.layers.Dense(3, name="body"), keras.layers.Dense(2, name="head")]
    net = keras.Sequential([keras.Input((4,)), *dense])
    with pytest.raises(ValueError, match=r"it holds no model.*shared='head' if the last is a new head"):
        kerasft.with_l2_sp(keras.optimizers.SGD(RATE), STRENGTH, net)


def test_what_is_wrong_is_named():
    net = linear()
    with pytest.raises(ValueError, match=r"which weights of 'net' are pre-trained.*shared='top'"):
        kerasft.with_l2_sp(keras.optimizers.SGD(RATE), STRENGTH, net)
    with pytest.raises(ValueError, match="strength is a number of at least 0"):
        kerasft.with_l2_sp(keras.optimizers.SGD(RATE), -1.0, net, shared="top")
    with pytest.raises(TypeError, match="expects a Keras optimizer"):
        kerasft.with_l2_sp("sgd", STRENGTH, net, shared="top")
    net.compile(keras.optimizers.SGD(RATE), "mse")
    net.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match="has trained, and not 'net'"):
        kerasft.with_l2_sp(net.optimizer, STRENGTH, linear(), shared="top")
    before = net.weights[0].numpy()
    kerasft.with_l2_sp(net.optimizer, STRENGTH, net, reference=[before * 0, before[:, :1]], shared="top")
    hand = ByHand("SGD", [before * 0.0, None], [1.0, 1.0], 0.0)
    hand.w = [v.numpy().astype("float64") for v in net.weights]
    net.fit(X, Y, verbose=0)
    hand.step()
    same(net, hand)
