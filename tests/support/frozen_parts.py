"""Small models of which their authors have frozen parts, each in one of the ways that users take."""

import keras

L = keras.layers


def _chain(*layers, shape=(4,), name="net"):
    return keras.Sequential([keras.Input(shape), *layers], name=name)


def lora_dense():
    model = _chain(L.Dense(4, name="body"), L.Dense(3, name="middle"), L.Dense(2, name="top"))
    model.get_layer("body").enable_lora(2)
    model.get_layer("top").enable_lora(2)
    return model


def lora_of_other_kinds():
    model = _chain(
        L.Embedding(9, 4, name="words"),
        L.Conv1D(4, 1, name="conv"),
        L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", name="einsum"),
        L.GlobalAveragePooling1D(),
        L.Dense(2, name="top"),
    )
    for name in ("words", "conv", "einsum"):
        model.get_layer(name).enable_lora(2)
    return model


def single_weights():
    model = _chain(L.Dense(4, name="body"), L.Dense(3, name="middle"), L.Dense(2, name="top"))
    model.get_layer("body").kernel.trainable = False
    for weight in model.get_layer("middle").weights:
        weight.trainable = False
    return model


class WithConstant(L.Layer):
    """Has a weight that never trains."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.constant = self.add_weight(
            shape=(shape[-1],), initializer="ones", trainable=False, name="constant"
        )

    def call(self, x):
        return x * self.scale * self.constant


def a_constant():
    return _chain(L.Dense(4, name="body"), WithConstant(name="constants"), L.Dense(2, name="top"))


def built_off():
    """Built with `trainable=False`, after a stage that is on."""
    return _chain(
        L.Dense(4, name="body"),
        L.Dense(4, name="fixed", trainable=False),
        L.Dropout(0.1, trainable=False),
        L.Dense(2, name="top"),
    )


def normalizations_off():
    model = _chain(
        L.Dense(4, name="body"),
        L.BatchNormalization(name="norm"),
        L.Dense(4, name="middle"),
        L.BatchNormalization(name="plain_norm", scale=False, center=False),
        L.BatchNormalization(name="trained_norm"),
        L.Dense(2, name="top"),
    )
    for name in ("norm", "plain_norm"):
        model.get_layer(name).trainable = False
    return model


def positions_beside_tokens(name="positions"):
    """Both are in the first stage, the fixed table first."""
    tokens = keras.Input((3,), dtype="int32")
    positions = L.Embedding(3, 4, name=name, trainable=False)(keras.ops.cumsum(tokens * 0 + 1, 1) - 1)
    x = L.Add()([positions, L.Embedding(9, 4, name="words")(tokens)])
    x = L.Dense(4, name="body")(x)
    x = L.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, L.Dense(2, name="top")(x), name="net")


def teacher():
    """A frozen model of its own, after the student's first layer."""
    model = _chain(L.Dense(4, name="inner"), L.BatchNormalization(name="inner_norm"), name="teacher")
    model.trainable = False
    inputs = keras.Input((4,))
    x = L.Dense(4, name="student")(inputs)
    return keras.Model(inputs, L.Dense(2, name="top")(model(x)), name="net")


def wrapped():
    recurrent = L.Bidirectional(L.LSTM(2, return_sequences=True), name="both_ways")
    each = L.TimeDistributed(L.Dense(2, name="inner"), name="each")
    model = _chain(recurrent, each, L.GlobalAveragePooling1D(), L.Dense(2, name="top"), shape=(3, 2))
    recurrent.backward_layer.trainable = False
    each.layer.trainable = False
    return model


class Composite(L.Layer):
    """Holds layers and a weight of its own."""

    def __init__(self, fixed=True, **kwargs):
        super().__init__(**kwargs)
        self.fixed = L.Dense(4, name="fixed", trainable=not fixed)
        self.free = L.Dense(4, name="free")
        self.drop = L.Dropout(0.1, trainable=False)

    def build(self, shape):
        self.scale = self.add_weight(shape=(4,), initializer="ones", name="scale")
        self.fixed.build(shape)
        self.free.build(shape)

    def call(self, x):
        return self.drop(self.fixed(x) + self.free(x)) * self.scale


def nested_in_a_layer():
    return _chain(Composite(name="block_0"), Composite(fixed=False, name="block_1"), L.Dense(2, name="top"))


def built_off_around_layers_that_train():
    """Keras trains what is in a layer that was itself built with `trainable=False`."""
    each = L.TimeDistributed(L.Dense(2, name="inner"), trainable=False)
    return _chain(L.Dense(2, name="body"), each, L.GlobalAveragePooling1D(), L.Dense(2), shape=(3, 2))


def shared():
    """A frozen layer in two models, one of which is frozen as a whole."""
    layer, inputs = L.Dense(4, name="shared"), keras.Input((4,))
    one = _chain(layer, L.Dense(4, name="own"), name="one")
    other = _chain(layer, L.Dense(4, name="fixed"), name="other")
    x = L.Dense(4, name="body")(inputs)
    x = L.Dense(4, name="middle")(L.Add()([one(x), other(x)]))
    model = keras.Model(inputs, L.Dense(2, name="top")(x), name="net")
    other.trainable = False
    return model


KEPT = (
    lora_dense,
    lora_of_other_kinds,
    single_weights,
    a_constant,
    built_off,
    normalizations_off,
    positions_beside_tokens,
    teacher,
    wrapped,
    nested_in_a_layer,
    built_off_around_layers_that_train,
    shared,
)
