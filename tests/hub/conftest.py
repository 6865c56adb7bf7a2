"""Tiny SavedModels, each written once per session into a folder of its own."""

import functools
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import tensorflow as tf
from hub_modules import Simple


class Residual(tf.Module):
    """stem, block_1, block_2, top: convolutions, BatchNormalization, dropout, written by hand.

    Variables are called `kernel`, `gamma`, … only, as Keras 3 does; scopes tell where they belong.
    """

    def __init__(self, flag="bool"):
        rng = np.random.default_rng(1)

        def variable(*shape, name, trainable=True, value=0.0):
            value = rng.normal(value, 0.3, shape) if value < 1 else rng.uniform(1, 2, shape)
            return tf.Variable(value.astype("float32"), trainable=trainable, name=name)

        self.units = {}
        for unit, width in (("stem", 3), ("block_1", 4), ("block_2", 4)):
            self.units[unit] = {
                "kernel": variable(3, 3, width, 4, name="kernel"),
                "project": variable(1, 1, 4, 4, name="kernel"),
                "gamma": variable(4, name="gamma", value=1.0),
                "beta": variable(4, name="beta", value=0.1),
                "mean": variable(4, name="moving_mean", trainable=False, value=0.2),
                "variance": variable(4, name="moving_variance", trainable=False, value=1.5),
            }
        self.top = variable(4, 5, name="kernel")
        specs = [tf.TensorSpec((None, 8, 8, 3), tf.float32, name="inputs")]
        if flag == "tensor":
            call = tf.function(self.apply)
            call.get_concrete_function(*specs, tf.TensorSpec((), tf.bool, name="training"))
        else:
            call = tf.function(self.apply)
            for training in (False, True):
                call.get_concrete_function(*specs, training)
        self.__call__ = call

    def unit(self, name, x, training):
        u = self.units[name]
        with tf.name_scope(f"{name}/conv"):
            y = tf.nn.conv2d(x, tf.identity(u["kernel"]), 1, "SAME")
        with tf.name_scope(f"{name}/project"):
            y = tf.nn.conv2d(tf.nn.relu(y), tf.identity(u["project"]), 1, "SAME")
        with tf.name_scope(f"{name}/bn"):
            gamma, beta = tf.identity(u["gamma"]), tf.identity(u["beta"])
            mean, variance = tf.identity(u["mean"]), tf.identity(u["variance"])

            def of_batch():
                now = tf.nn.moments(y, [0, 1, 2])
                u["mean"].assign(u["mean"] * 0.9 + now[0] * 0.1)
                u["variance"].assign_sub((u["variance"] - now[1]) * 0.1)
                return now

            if isinstance(training, bool):
                mean, variance = of_batch() if training else (mean, variance)
            else:
                mean, variance = tf.cond(training, of_batch, lambda: (mean, variance))
            return tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)

    def apply(self, inputs, training=False):
        x = tf.nn.relu(self.unit("stem", inputs, training))
        for name in ("block_1", "block_2"):
            x = tf.nn.relu(x + self.unit(name, x, training))
        x = tf.reduce_mean(x, [1, 2])
        with tf.name_scope("top/dense"):
            return tf.matmul(x, tf.identity(self.top))


NORMED = ("folded", "fused", "by_hand", "no_scale", "in_kernel", "no_training_graph")


class Normed(tf.Module):
    """body, bn, top: `relu(bn(x @ body)) @ top`, with batch normalization written in several ways."""

    def __init__(self, kind):
        rng = np.random.default_rng(6)

        def variable(*shape, name, trainable=True):
            value = rng.uniform(0.5, 1.5, shape).astype("float32")
            return tf.Variable(value, trainable=trainable, name=name)

        self.kind = kind
        self.body, self.top = variable(3, 4, name="body/kernel"), variable(4, 2, name="top/kernel")
        self.gamma, self.beta = variable(4, name="body_bn/gamma"), variable(4, name="body_bn/beta")
        self.mean = variable(4, name="body_bn/moving_mean", trainable=False)
        self.variance = variable(4, name="body_bn/moving_variance", trainable=False)
        self.__call__ = tf.function(self.apply)
        for training in (False,) if kind == "no_training_graph" else (False, True):
            self.__call__.get_concrete_function(tf.TensorSpec((None, 3), name="x"), training)

    def apply(self, x, training=False):
        y = tf.matmul(x, self.body)
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = tf.nn.moments(y, [0])
            self.mean.assign(self.mean * 0.9 + mean * 0.1)
            self.variance.assign(self.variance * 0.9 + variance * 0.1)
        if self.kind == "fused":
            mean, variance = tf.convert_to_tensor(mean), tf.convert_to_tensor(variance)
            y = tf.compat.v1.nn.fused_batch_norm(
                y[:, None, None], self.gamma, self.beta, mean, variance, 1e-3, is_training=False
            )[0][:, 0, 0]
        elif self.kind == "by_hand":
            y = (y - mean) / tf.sqrt(variance + 1e-3) * self.gamma + self.beta
        elif self.kind == "no_scale":
            y = tf.nn.batch_normalization(y, mean, variance, None, None, 1e-3)
        elif self.kind == "in_kernel" and not training:
            scale = self.gamma / tf.sqrt(variance + 1e-3)
            y = tf.matmul(x, self.body * scale) + (self.beta - mean * scale)
        else:
            y = tf.nn.batch_normalization(y, mean, variance, self.beta, self.gamma, 1e-3)
        return tf.matmul(tf.nn.relu(y), self.top)


class Encoder(tf.Module):
    """Embeddings and two encoder layers; three token inputs and three named outputs."""

    def __init__(self):
        rng = np.random.default_rng(2)

        def variable(*shape, name):
            return tf.Variable(rng.normal(0, 0.3, shape).astype("float32"), name=name)

        self.words = variable(11, 6, name="embeddings/word/table")
        self.types = variable(2, 6, name="embeddings/type/table")
        self.layers = [
            {k: variable(6, 6, name=f"encoder/layer_{i}/{k}/kernel") for k in ("q", "k", "v", "f")}
            for i in range(2)
        ]
        self.pooler = variable(6, 6, name="pooler/kernel")
        spec = {
            k: tf.TensorSpec((None, 5), tf.int32, name=k)
            for k in ("input_word_ids", "input_mask", "input_type_ids")
        }
        self.__call__ = tf.function(self.apply)
        for training in (False, True):
            self.__call__.get_concrete_function(spec, training)

    @tf.function
    def layer(self, x, mask, q, k, v, f):
        scores = tf.matmul(tf.einsum("bsd,de->bse", x, q), tf.einsum("bsd,de->bse", x, k), transpose_b=True)
        scores += (1.0 - tf.cast(mask, tf.float32)[:, None, :]) * -1e4
        x += tf.matmul(tf.nn.softmax(scores), tf.einsum("bsd,de->bse", x, v))
        return x + tf.nn.gelu(tf.einsum("bsd,de->bse", x, f))

    def apply(self, inputs, training=False):
        x = tf.nn.embedding_lookup(self.words, inputs["input_word_ids"])
        x += tf.gather(self.types, inputs["input_type_ids"])
        outputs = []
        for w in self.layers:
            x = self.layer(x, inputs["input_mask"], w["q"], w["k"], w["v"], w["f"])
            outputs.append(x)
        pooled = tf.tanh(tf.matmul(x[:, 0], self.pooler))
        return {"pooled_output": pooled, "sequence_output": x, "encoder_outputs": outputs}


class Recurrent(tf.Module):
    """A loop whose body reads a captured weight by its handle."""

    def __init__(self):
        rng = np.random.default_rng(3)
        self.embed = tf.Variable(rng.normal(0, 0.5, (3, 4)).astype("float32"), name="embed/kernel")
        self.cell = tf.Variable(rng.normal(0, 0.5, (8, 4)).astype("float32"), name="cell/kernel")
        self.top = tf.Variable(rng.normal(0, 0.5, (4, 2)).astype("float32"), name="top/kernel")
        self.__call__ = tf.function(
            self.apply, input_signature=[tf.TensorSpec((None, 6, 3), tf.float32, name="inputs")]
        )

    def apply(self, inputs):
        x = tf.einsum("btf,fd->btd", inputs, self.embed)
        state = tf.zeros_like(x[:, 0])
        for t in tf.range(6):
            state = tf.tanh(tf.matmul(tf.concat([x[:, t], state], 1), self.cell))
        return tf.matmul(state, self.top)


def chain(module, x):
    x = tf.nn.relu(tf.matmul(x, module.first))
    x = tf.nn.relu(tf.matmul(x, module.second))
    return tf.matmul(x, module.third)


def parallel(module, x):
    left = tf.matmul(tf.nn.relu(tf.matmul(x, module.first)), module.second)
    return tf.concat([left, tf.matmul(x, module.third)], -1)


def tied(module, x):
    y = tf.nn.relu(tf.matmul(x, module.first))
    y = tf.nn.relu(tf.matmul(y, module.second))
    return tf.matmul(y, module.first, transpose_b=True)


def tied_in_front(module, x):
    x = tf.nn.relu(tf.matmul(x, module.first))
    x = tf.nn.relu(tf.matmul(x, module.first))
    x = tf.nn.relu(tf.matmul(x, module.second))
    return tf.matmul(x, module.third)


def reads_file(module, x):
    return chain(module, x) + tf.cast(tf.strings.length(tf.io.read_file("/dev/null")), tf.float32)


class RunsPythonInTraining(Simple):
    """A chain that only its training graph makes unsafe."""

    def __init__(self):
        super().__init__(chain, trace=False)
        self.__call__ = tf.function(self.apply)
        for training in (False, True):
            self.__call__.get_concrete_function(tf.TensorSpec((None, 4), name="x"), training)

    def apply(self, x, training=False):
        return runs_python(self, x) if training else chain(self, x)


def runs_python(module, x):
    return chain(module, tf.ensure_shape(tf.py_function(lambda v: v + 1.0, [x], tf.float32), (None, 4)))


def prints(module, x):
    tf.print("hello")
    return chain(module, x)


def weightless(module, x):
    return tf.nn.relu(x)


def looks_up(module, x):
    words = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([0.0, 1.0]))
    module.table = getattr(module, "table", None) or tf.lookup.StaticHashTable(words, 0.0)
    return chain(module, x) + module.table.lookup(tf.constant("b"))


def any_shape(module, x):
    y = chain(module, tf.reshape(x, (-1, 4)))
    return tf.reshape(y, tf.concat([tf.shape(x)[:1], [-1]], 0))


def with_regularizer(loss):
    """A `chain` module whose one regularization loss is `loss(module)`."""
    module = Simple(chain)
    module.regularization_losses = [tf.function(lambda: loss(module), input_signature=[])]
    return module


def reads_file_as_loss(module):
    size = tf.strings.length(tf.io.read_file("/dev/null"))
    return tf.nn.l2_loss(module.first) + tf.cast(size, tf.float32)


class ServingOnly(tf.Module):
    """Only a signature, as an export for serving has it; no `__call__`."""

    def __init__(self):
        self.weight = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
    def serve(self, x):
        return x * self.weight


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A function of a name that returns the folder of that SavedModel."""
    root = tmp_path_factory.mktemp("savedmodels")
    makers = {
        "residual": Residual,
        "residual_tensor_flag": lambda: Residual("tensor"),
        **{f"normed_{k}": functools.partial(Normed, k) for k in NORMED},
        "encoder": Encoder,
        "recurrent": Recurrent,
        "chain": lambda: Simple(chain),
        "parallel": lambda: Simple(parallel),
        "tied": lambda: Simple(tied),
        "tied_in_front": lambda: Simple(tied_in_front),
        "weightless": lambda: Simple(weightless),
        "looks_up": lambda: Simple(looks_up),
        "untraced": lambda: Simple(chain, trace=False),
        "any_shape": lambda: Simple(any_shape, spec=tf.TensorSpec(None, tf.float32, name="x")),
        "any_size": lambda: Simple(any_shape, spec=tf.TensorSpec((None, None), tf.float32, name="x")),
        "runs_python": lambda: Simple(runs_python),
        "runs_python_in_training": RunsPythonInTraining,
        "reads_file": lambda: Simple(reads_file),
        "serving_only": ServingOnly,
        "loss_of_all": lambda: with_regularizer(lambda m: sum(map(tf.nn.l2_loss, (m.first, m.second)))),
        "loss_of_one": lambda: with_regularizer(lambda m: tf.nn.l2_loss(m.first)),
        "loss_reads_file": lambda: with_regularizer(reads_file_as_loss),
        "prints": lambda: Simple(prints),
    }

    def folder(name):
        path = root / name
        if not path.exists():
            module = makers[name]()
            signatures = getattr(module, "serve", None)
            tf.saved_model.save(module, str(path), signatures=signatures)
        return str(path)

    return folder


def save_tf_keras_cnn(path, dropout):
    """A residual CNN with BatchNormalization, dropout and L2, saved by tf_keras."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers, l2 = tf_keras.layers, tf_keras.regularizers.L2(0.01)
    inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU()(x)
    for i in (1, 2):
        options = {"kernel_regularizer": l2, "use_bias": False}
        y = layers.Conv2D(4, 3, padding="same", name=f"block_{i}_a_conv", **options)(x)
        y = layers.BatchNormalization(name=f"block_{i}_a_bn")(y)
        y = layers.ReLU()(y)
        y = layers.Conv2D(4, 3, padding="same", name=f"block_{i}_b_conv")(y)
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x) if dropout else x
    model = tf_keras.Model(inputs, layers.Dense(3, name="logits")(x))
    rng = np.random.default_rng(0)
    for v in model.weights:  # no two alike, and statistics that differ from their initial values
        v.assign(rng.uniform(0.5, 1.5, v.shape) if "variance" in v.name else rng.normal(0, 0.3, v.shape))
    model.save(str(path))
    return str(path)


@pytest.fixture(scope="session")
def tf_keras_cnn(tmp_path_factory):
    """The residual CNN of tf_keras, without dropout."""
    return save_tf_keras_cnn(tmp_path_factory.mktemp("tf_keras") / "cnn", 0.0)


@pytest.fixture(scope="session")
def tf_keras_dropout(tmp_path_factory):
    """The residual CNN of tf_keras, with dropout before its last layer."""
    return save_tf_keras_cnn(tmp_path_factory.mktemp("tf_keras") / "cnn", 0.5)


@pytest.fixture(scope="session")
def tf_keras_lstm(tmp_path_factory):
    """Two LSTM layers and a Dense layer, saved by tf_keras."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Input((5, 3)),
            layers.LSTM(4, return_sequences=True, name="lstm_1"),
            layers.LSTM(4, name="lstm_2"),
            layers.Dense(2, name="top"),
        ]
    )
    rng = np.random.default_rng(0)
    for v in model.weights:
        v.assign(rng.normal(0, 0.3, v.shape))
    path = str(tmp_path_factory.mktemp("tf_keras") / "lstm")
    model.save(path)
    return path


@pytest.fixture(scope="session")
def uncut():
    """A function of a folder and a staged model: the SavedModel, and (its variable, weight) pairs."""

    def load(path, model):
        loaded = tf.saved_model.load(path)
        pairs = []
        functions = getattr(loaded.__call__, "concrete_functions", [loaded.__call__])
        every = {id(v.handle): v for f in functions for v in f.variables}.values()
        for weight in model.weights:
            alike = [v for v in every if np.array_equal(v.numpy(), weight.numpy())]
            assert len(alike) == 1, weight.path
            pairs.append((alike[0], weight))
        return loaded, pairs

    return load


@pytest.fixture
def hub_server(tmp_path, monkeypatch):
    """A server on loopback that speaks TF Hub's protocol: an archive if the query asks for one."""
    archives, requests = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            requests.append(self.path)
            body = archives.get(path) if query == "tf-hub-format=compressed" else None
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    class Server:
        """Address, archives by path, and the requests that came."""

        def __init__(self, address):
            self.url, self.archives, self.requests = address, archives, requests

        def serve(self, path, folder):
            file = tmp_path / "archive.tar.gz"
            with tarfile.open(file, "w:gz") as archive:
                archive.add(folder, arcname=".")
            archives[path] = file.read_bytes()
            return self.url + path

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield Server(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
    thread.join()
