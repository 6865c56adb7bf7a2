"""The readiness report: its rules one by one, and XNNPACK's held against what LiteRT really delegates."""

import importlib
import json
import warnings
from dataclasses import asdict

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from html_tables import unseen
from kerasft.export.tflite_file.delegates import documented as readiness
from kerasft.export.tflite_file.operations import Operand, Operation, read_operations

from kerasft import export

# The function may have taken the module's place in the package.
MODULE = importlib.import_module("kerasft.export.tflite_file.delegates")


def classifier(batch):
    """ReLU6, and a depthwise kernel of more than the 1024 values from which on the converter quantizes it."""
    inputs = x = keras.Input((8, 8, 3), batch_size=batch)
    x = keras.layers.ReLU(6.0)(keras.layers.Conv2D(64, 3, padding="same")(x))
    x = keras.layers.BatchNormalization()(keras.layers.DepthwiseConv2D(5, padding="same")(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(6.0)(x))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


def gated(batch):
    """SiLU, hard swish, and channels weighted as squeeze-and-excitation does."""
    inputs = x = keras.Input((8, 8, 3), batch_size=batch)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="silu")(x)
    x = keras.layers.Conv2D(8, 1, activation="hard_silu")(x)
    weights = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = keras.layers.Multiply()([x, keras.layers.Conv2D(8, 1, activation="sigmoid")(weights)])
    x = keras.layers.Dense(3)(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Softmax()(x))


def lacking(batch):
    """Operations that XNNPACK lacks: TILE between others, LOG_SOFTMAX at the end."""
    inputs = x = keras.Input((8, 8, 3), batch_size=batch)
    x = keras.layers.UpSampling2D()(keras.layers.Conv2D(8, 3, activation="relu")(x))
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Activation("log_softmax")(x))


def attention(batch):
    """Products of computed tensors."""
    inputs = x = keras.Input((8, 8, 3), batch_size=batch)
    x = keras.layers.Dense(16)(keras.layers.Reshape((16, 12))(x))
    x = keras.layers.MultiHeadAttention(2, 8)(x, x)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))


def dense(batch):
    inputs = x = keras.Input((8, 8, 3), batch_size=batch)
    x = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


FILES = {
    "dense float32": (dense, 1, "float32"),
    "dense dynamic": (dense, 1, "dynamic"),
    "dense open": (dense, None, "float32"),
    "classifier float32": (classifier, 1, "float32"),
    "classifier float16": (classifier, 1, "float16"),
    "classifier dynamic": (classifier, 1, "dynamic"),
    "classifier int8": (classifier, 1, "int8"),
    "classifier uint8": (classifier, 1, "uint8"),
    "gated float32": (gated, 1, "float32"),
    "gated int8": (gated, 1, "int8"),
    "lacking float16": (lacking, 1, "float16"),
    "lacking int8": (lacking, 1, "int8"),
    "attention float32": (attention, 1, "float32"),
    "attention int8": (attention, 1, "int8"),
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")


@pytest.fixture(scope="module")
def files(images):
    """Trained models as .tflite files, by the keys of FILES."""
    made, trained = {}, {}
    for key, (build, batch, precision) in FILES.items():
        keras.utils.set_random_seed(1)
        model = build(batch)
        if build not in trained:
            labels = np.eye(3, dtype="float32")[np.arange(16) % 3]
            model.compile(keras.optimizers.Adam(0.01), "mse")
            model.fit(images, labels, batch_size=1, epochs=2, verbose=0)
            trained[build] = model.get_weights()
        model.set_weights(trained[build])
        made[key] = convert(model, precision, images)
    return made


def convert(model, precision, images):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    return converted(converter, precision, [[image[None]] for image in images])


def converted(converter, precision, samples):
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in ("int8", "uint8"):
        converter.representative_dataset = lambda: iter(samples)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    if precision == "uint8":
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    with warnings.catch_warnings():
        # asks for what only files of TensorFlow 1 need
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        return converter.convert()


def one_of_each(x, y):
    """Most operations that the tables name, side by side; `x` and `y` are (1, 4, 4, 8)."""
    positive, pads = tf.square(x) + 1.0, [[0, 0], [1, 1], [1, 1], [0, 0]]
    unary = [
        tf.abs, tf.cos, tf.exp, tf.floor, tf.math.ceil, tf.negative, tf.nn.elu, tf.nn.gelu, tf.nn.leaky_relu,
        tf.nn.log_softmax, tf.nn.relu, tf.nn.relu6, tf.nn.softmax, tf.round, tf.sigmoid, tf.sign, tf.sin,
        tf.square, tf.tanh,
    ]  # fmt: skip
    return [
        *(f(x) for f in unary), tf.math.log(positive), tf.math.rsqrt(positive), tf.sqrt(positive),
        tf.clip_by_value(x, -1.0, 1.0), x * tf.nn.relu6(x + 3.0) / 6.0,
        tf.nn.relu(x) - tf.linspace(0.1, 0.8, 8) * tf.nn.relu(-x),
        x + y, x - y, x * y, x / positive, tf.maximum(x, y), tf.minimum(x, y), tf.pow(positive, y),
        tf.math.squared_difference(x, y), tf.where(x < y, x, y), tf.matmul(x, y, transpose_b=True),
        tf.concat([x, y, x, y, x], 3), tf.concat([x, y, x, y, x, y], 3),
        tf.nn.avg_pool2d(x, 2, 2, "VALID"), tf.nn.max_pool2d(x, 2, 2, "VALID"),
        tf.reduce_mean(x, [1, 2]), tf.reduce_sum(x, 3), tf.reduce_max(x, 1), tf.reduce_min(x, 1),
        tf.reduce_prod(x, 1), tf.cumsum(x, 1), tf.reverse(x, [1]), tf.nn.l2_normalize(x, -1),
        tf.cast(tf.argmax(x, 3), tf.float32), tf.pad(x, pads), tf.pad(x, pads, constant_values=1.0),
        tf.pad(x, pads, "REFLECT"), tf.transpose(x, [0, 3, 1, 2]), tf.reshape(x, [1, 8, 16]),
        tf.tile(x, [1, 2, 1, 1]),
        tf.slice(x, [0, 1, 1, 1], [1, 2, 2, 2]), x[:, 1:3], x[:, 0], tf.gather(x, [1, 2], axis=1),
        tf.stack([x, y], 1), *tf.split(x, 4, 3), *tf.split(y, 8, 3), *tf.split(x, [3, 5], 3),
        tf.nn.depth_to_space(x, 2), tf.nn.space_to_depth(x, 2), tf.image.resize(x, (8, 8)),
        tf.image.resize(x, (8, 8), "nearest"),
        tf.nn.conv2d_transpose(x, tf.ones([2, 2, 8, 8]), [1, 8, 8, 8], 2),
    ]  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_one_of_each_operation(precision):
    """No chain, so that LiteRT joins what it can: only what stays outside is compared."""
    spec = tf.TensorSpec((1, 4, 4, 8))
    traced = tf.function(one_of_each, input_signature=[spec, spec]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
    numbers = np.random.default_rng(0).normal(size=(8, 2, 1, 4, 4, 8)).astype("float32")
    content = converted(converter, precision, [list(pair) for pair in numbers])
    report = readiness(content)
    pieces, outside = delegated(content)
    assert refused(report, "xnnpack") == outside
    assert 1 <= pieces <= report.pieces("xnnpack")
    assert len({o.name for o in read_operations(content)}) > 60 and len(outside) > 15


def delegated(content):
    """How many pieces LiteRT gives to XNNPACK, and position and name of each operation that stays outside.

    The runtime lists all operations of the file and then its delegates; those that a delegate computes stand
    between its outputs and its inputs.
    """
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    nodes = interpreter._get_ops_details()
    delegates = [n for n in nodes if n["op_name"] in ("DELEGATE", "TfLiteXNNPackDelegate")]
    operations = [n for n in nodes if n not in delegates]
    maker = {int(t): n for n in operations for t in n["outputs"] if t >= 0}
    inside = set()
    for delegate in delegates:
        given, wanted = {int(t) for t in delegate["inputs"]}, [int(t) for t in delegate["outputs"]]
        while wanted:
            tensor = wanted.pop()
            if tensor in maker and tensor not in given and maker[tensor]["index"] not in inside:
                inside.add(maker[tensor]["index"])
                wanted += [int(t) for t in maker[tensor]["inputs"]]
    outside = [(n["index"], n["op_name"]) for n in operations if n["index"] not in inside]
    return len(delegates), outside


def refused(report, target):
    return [(r.position, r.operation) for r in report.refusals[target]]


@pytest.mark.parametrize("key", FILES)
def test_what_xnnpack_refuses_is_what_litert_leaves_outside(files, key):
    report = readiness(files[key])
    pieces, outside = delegated(files[key])
    assert refused(report, "xnnpack") == outside
    # attention's values depend on nothing that was refused, so LiteRT computes them with the first piece
    assert pieces == report.pieces("xnnpack") - (key == "attention int8")
    assert report.operations == len(read_operations(files[key]))
    assert report.share("xnnpack") == 1 - len(outside) / report.operations


def test_the_files_show_what_they_are_meant_to_show(files):
    """Without refusals on both sides the comparison above would say little."""
    said = {
        key: {(r.operation, r.reason) for r in readiness(files[key]).refusals["xnnpack"]} for key in files
    }
    assert said["classifier float32"] == said["classifier float16"] == said["gated float32"] == set()
    assert said["classifier dynamic"] == {("DEPTHWISE_CONV_2D", "mixes float32 and int8")}
    assert said["classifier int8"] == {("SOFTMAX", "it computes this in float only")}
    assert ("QUANTIZE", "mixes int8 and uint8") in said["classifier uint8"]
    assert ("HARD_SWISH", "it computes this in float only") in said["gated int8"]
    assert ("LOG_SOFTMAX", "it has no such operation") in said["lacking float16"]
    assert ("BATCH_MATMUL", "multiplies two integers") in said["attention int8"]
    assert ("RESHAPE", "computes its operand 1, which should be constant") in said["dense open"]


def test_float_and_dynamic_files_are_not_for_an_edge_tpu(files):
    for key in ("dense float32", "dense dynamic", "classifier float16", "dense open"):
        report = readiness(files[key])
        assert report.share("edgetpu") == report.mapped == report.pieces("edgetpu") == 0
    reasons = {r.reason for r in readiness(files["dense float32"]).refusals["edgetpu"]}
    assert reasons == {"has float32 tensors, not 8-bit integers"}


def test_an_edge_tpu_takes_an_int8_file_but_for_its_float_edges(files):
    report = readiness(files["classifier int8"])
    names = [o.name for o in read_operations(files["classifier int8"])]
    assert refused(report, "edgetpu") == [(0, "QUANTIZE"), (len(names) - 1, "DEQUANTIZE")]
    assert report.mapped == report.operations - 2 and report.pieces("edgetpu") == 1
    whole = readiness(files["classifier uint8"])
    assert whole.refusals["edgetpu"] == () and whole.mapped == whole.operations


def test_an_edge_tpu_stops_at_the_first_operation_that_it_lacks(files):
    report = readiness(files["gated int8"])
    names = [o.name for o in read_operations(files["gated int8"])]
    assert names[0] == "QUANTIZE" and report.mapped == names.index("HARD_SWISH") - 1
    assert report.pieces("edgetpu") == 2
    assert f"first piece alone, {report.mapped} of {len(names)}" in str(report)


def test_the_gpu_takes_floats_and_8_bit_integers_of_up_to_four_axes(files):
    for key in (
        "dense float32",
        "classifier float16",
        "classifier int8",
        "gated float32",
        "attention float32",
    ):
        assert readiness(files[key]).refusals["gpu"] == ()
    report = readiness(files["lacking float16"])
    assert {r.reason for r in report.refusals["gpu"]} == {
        "has a tensor of more than four axes",
        "it has no such operation",
    }
    open_batch = {r.operation for r in readiness(files["dense open"]).refusals["gpu"]}
    assert open_batch == {"SHAPE", "STRIDED_SLICE", "PACK", "RESHAPE"}


def test_the_table(files):
    assert str(readiness(files["classifier dynamic"])).splitlines() == [
        "target   accepted        pieces  evidence                                         refused",
        "edgetpu  0 of 5 (0 %)    0       read in a document: Coral's model requirements   "
        "5 × has float32 tensors, not 8-bit integers: CONV_2D, DEPTHWISE_CONV_2D, MEAN, FULLY_CONNECTED, "
        "SOFTMAX",
        "gpu      5 of 5 (100 %)  1       read in a document: LiteRT's GPU page and code   –",
        "xnnpack  4 of 5 (80 %)   2       read in a document: LiteRT's XNNPACK page, code  "
        "1 × mixes float32 and int8: DEPTHWISE_CONV_2D",
    ]
    assert str(readiness(files["gated int8"])).splitlines()[1:4] == [
        "edgetpu  11 of 14 (78 %)   2       read in a document: Coral's model requirements   "
        "2 × converts from or to float, which stays on the CPU: QUANTIZE, DEQUANTIZE",
        f"{' ' * 84}1 × it has no such operation: HARD_SWISH",
        f"{' ' * 84}its compiler maps the first piece alone, 4 of 14",
    ]
    assert unseen(readiness(files["gated int8"])) == []


def test_as_json_and_from_a_path(files, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(files["gated int8"])
    report = export.readiness(path)
    assert report == export.readiness(str(path)) == readiness(files["gated int8"])
    said = json.loads(json.dumps(asdict(report)))
    first = said["refusals"]["xnnpack"][0]
    made = read_operations(files["gated int8"])[first["position"]]
    assert said["operations"] == report.operations
    assert (first["target"], first["operation"]) == ("xnnpack", made.name)
    assert first["tensor"] == made.outputs[0].name


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no \.tflite file"):
        readiness(b"PK\x03\x04 something else, long enough")
    with pytest.raises(FileNotFoundError):
        export.readiness(tmp_path / "missing.tflite")


def t(dtype, *shape, constant=False, name="t"):
    return Operand(name, shape, dtype, constant)


def c(dtype, *shape, name="c"):
    return t(dtype, *shape, constant=True, name=name)


def op(name, inputs, *outputs):
    return Operation(name, True, tuple(inputs), outputs)


F, Q = t("float32", 1, 4, 4, 8), t("int8", 1, 4, 4, 8)
AXES, PAIR = c("int32", 2), c("int32", 4, 2)


@pytest.fixture
def report_on(monkeypatch):
    """A report on operations that no file has to hold."""

    def report(*operations):
        monkeypatch.setattr(MODULE, "read_operations", lambda content: operations)
        return readiness(b"")

    return report


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (op("ADD", [Q, Q], Q), None),
        (op("ADD", [t("uint8", 8), c("uint8", 8)], t("uint8", 8)), None),
        (op("ADD", [F, F], F), "float32"),
        (op("ADD", [t("int16", 8)] * 2, t("int16", 8)), "int16"),
        (op("HARD_SWISH", [Q], Q), "no such operation"),
        (op("FlexIgamma", [Q], Q), "no such operation"),
        (op("QUANTIZE", [F], Q), "stays on the CPU"),
        (op("QUANTIZE", [Q], t("uint8", 1, 4, 4, 8)), None),
        (op("DEQUANTIZE", [Q], F), "stays on the CPU"),
        (op("CONV_2D", [Q, c("int8", 16, 3, 3, 8), c("int32", 16)], t("int8", 1, 4, 4, 16)), None),
        (op("CONV_2D", [Q, c("int8", 16, 3, 3, 8)], t("int8", 1, 4, 4, 16)), None),
        (op("CONV_2D", [Q, c("int8", 16, 3, 3, 8), t("int8", 16)], t("int8", 1, 4, 4, 16)), "operand 2"),
        (op("FULLY_CONNECTED", [Q, t("int8", 8, 8)], t("int8", 1, 8)), "operand 1"),
        (op("FULLY_CONNECTED", [Q, c("int8", 8, 8)], t("int8", 1, 1, 8)), None),
        (op("FULLY_CONNECTED", [Q, c("int8", 8, 8)], t("int8", 16, 8)), "several rows"),
        (op("FULLY_CONNECTED", [Q, c("int8", 8, 8)], t("int8", -1, 16, 8)), "several rows"),
        (op("ADD", [t("int8", -1, 4, 4, 8)] * 2, Q), None),
        (op("ADD", [t("int8", 1, -1, 4, 8)] * 2, Q), "not fixed"),
        (op("ADD", [t("int8", 2, 4, 4, 8)] * 2, t("int8", 2, 4, 4, 8)), "three axes"),
        (op("ADD", [t("int8", 4, 4, 8)] * 2, t("int8", 4, 4, 8)), None),
        (op("SOFTMAX", [t("int8", 1, 16000)], t("int8", 1, 16000)), None),
        (op("SOFTMAX", [t("int8", 1, 16001)], t("int8", 1, 16001)), "16000"),
        (op("SOFTMAX", [t("int8", 3, 10)], t("int8", 3, 10)), "several rows"),
        (op("CONCATENATION", [Q, Q, Q], Q), None),
        (op("CONCATENATION", [Q, c("int8", 1, 4, 4, 8)], Q), None),
        (op("CONCATENATION", [Q, c("int8", 1, 4, 4, 8), Q], Q), "constant"),
        (op("PRELU", [Q, c("int8", 1, 1, 8)], Q), None),
        (op("PRELU", [Q, c("int8", 1, 4, 8)], Q), "slopes"),
        (op("SQUEEZE", [t("int8", 1, 5, 10)], t("int8", 5, 10)), None),
        (op("SQUEEZE", [t("int8", 5, 1, 10)], t("int8", 5, 10)), "inner axis"),
        (op("STRIDED_SLICE", [Q, AXES, AXES, AXES], t("int8", 4, 8)), None),
        (op("STRIDED_SLICE", [t("int8", 4), AXES, AXES, AXES], t("int8", 1, 4)), "adds an axis"),
        (op("MEAN", [Q, AXES], t("int8", 1, 8)), None),
        (op("MEAN", [Q, t("int32", 2)], t("int8", 1, 8)), "int32"),
    ],
)
def test_edge_tpu(report_on, operation, reason):
    check(report_on(operation).refusals["edgetpu"], reason)


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (op("ADD", [F, F], F), None),
        (op("ADD", [Q, Q], Q), None),
        (op("ADD", [t("int16", 8)] * 2, t("int16", 8)), "int16"),
        (op("L2_NORMALIZATION", [F], F), "no such operation"),
        (op("RESHAPE", [F, c("int32", 5)], t("float32", 1, 2, 2, 4, 8)), "four axes"),
        (op("RESHAPE", [F, t("int32", 2)], t("float32", 1, 128)), "computed int32"),
        (op("CAST", [t("int32", 8)], t("float32", 8)), None),
        (op("LESS", [F, F], t("bool", 1, 4, 4, 8)), None),
        (op("LOGICAL_AND", [t("bool", 8)] * 2, t("bool", 8)), None),
        (op("ADD", [t("bool", 8)] * 2, t("bool", 8)), "bool"),
        (op("ADD_N", [F, F], F), None),
        (op("ADD_N", [F, F, F], F), "two tensors"),
        (op("GATHER", [F, t("int32", 3)], F), None),
        (op("GATHER", [F, t("int32", 3, 3)], F), "row of int32"),
        (op("GATHER", [F, c("int64", 3)], F), "row of int32"),
        (op("PAD", [F, PAIR], F), None),
        (op("PAD", [t("float32", 1, 8), c("int32", 2, 2)], t("float32", 1, 9)), "3 or 4 axes"),
        (op("SLICE", [t("float32", 1, 8), AXES, AXES], t("float32", 1, 4)), "3 or 4 axes"),
        (op("STRIDED_SLICE", [F, PAIR, PAIR, PAIR], t("float32", 1, 4, 4, 4)), None),
        (op("STRIDED_SLICE", [F, PAIR, PAIR, PAIR], t("float32", 4, 4, 8)), "axis"),
        (op("BATCH_MATMUL", [t("float32", 2, 3, 4), t("float32", 2, 4, 5)], t("float32", 2, 3, 5)), None),
        (op("BATCH_MATMUL", [t("float32", 2, 3, 4), c("float32", 4, 5)], t("float32", 2, 3, 5)), None),
        (
            op("BATCH_MATMUL", [t("float32", 2, 3, 4), c("float32", 2, 4, 5)], t("float32", 2, 3, 5)),
            "matrices",
        ),
        (op("ADD", [F, c("float32", 8)], F), None),
        (op("ADD", [c("float32"), c("float32")], t("float32")), None),
        (op("ADD", [F, c("float32", 4, 4, 8)], F), None),
        (op("MUL", [F, t("float32", 1, 8)], F), None),
        (op("MUL", [F, t("float32", 1, 1)], F), None),
        (op("MUL", [F, t("float32", 4, 8)], F), "broadcasts"),
        (
            op("MUL", [t("float32", 2, 4, 4, 8), t("float32", 4, 4, 8)], t("float32", 2, 4, 4, 8)),
            "broadcasts",
        ),
        (op("ADD", [t("float32", 1, 6, 8), c("float32", 6, 8)], t("float32", 1, 6, 8)), "broadcasts"),
    ],
)
def test_gpu(report_on, operation, reason):
    check(report_on(operation).refusals["gpu"], reason)


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (op("GELU", [F], F), None),
        (op("GELU", [Q], Q), "float only"),
        (op("TANH", [Q], Q), None),
        (op("TANH", [t("int16", 8)], t("int16", 8)), "int16"),
        (op("TILE", [F, AXES], F), "no such operation"),
        (op("CONV_2D", [F, c("float32", 16, 3, 3, 8), c("float32", 16)], F), None),
        (op("CONV_2D", [F, c("int8", 16, 3, 3, 8), c("float32", 16)], F), None),
        (op("CONV_2D", [F, c("int4", 16, 3, 3, 8), c("float32", 16)], F), "mixes float32 and int4"),
        (op("CONV_2D", [F, t("float32", 16, 3, 3, 8), c("float32", 16)], F), "operand 1"),
        (op("CONV_2D", [F, c("float32", 16, 3, 3, 8)], F), "no bias"),
        (op("DEPTHWISE_CONV_2D", [F, c("int8", 1, 3, 3, 8), c("float32", 8)], F), "mixes float32 and int8"),
        (op("DEPTHWISE_CONV_2D", [Q, c("int8", 1, 3, 3, 8), c("int32", 8)], Q), None),
        (op("FULLY_CONNECTED", [F, c("int4", 8, 8)], F), None),
        (op("FULLY_CONNECTED", [Q, c("int8", 8, 8)], F), "mixes float32 and int8"),
        (op("BATCH_MATMUL", [F, c("int8", 1, 4, 8, 8)], F), None),
        (op("BATCH_MATMUL", [Q, Q], Q), "two integers"),
        (op("BATCH_MATMUL", [Q, c("int8", 1, 4, 8, 8)], Q), None),
        (op("ADD", [F, Q], F), "mixes float32 and int8"),
        (op("QUANTIZE", [F], Q), None),
        (op("QUANTIZE", [t("uint8", 8)], t("int8", 8)), "mixes int8 and uint8"),
        (op("DEQUANTIZE", [Q], F), None),
        (op("DEQUANTIZE", [t("float16", 8)], t("float32", 8)), "mixes float16 and float32"),
        (op("CONCATENATION", [F] * 5, F), None),
        (op("CONCATENATION", [F] * 6, F), "2 to 5"),
        (op("CONCATENATION", [F], F), "2 to 5"),
        (op("SPLIT", [c("int32"), F], F, F), None),
        (op("SPLIT", [c("int32"), F], *[F] * 5), "2 to 4"),
        (op("MEAN", [F, AXES], t("float32", 1, 8)), None),
        (op("MEAN", [F, t("int32", 2)], t("float32", 1, 8)), "operand 1"),
        (op("TRANSPOSE_CONV", [AXES, c("float32", 8, 3, 3, 8), F], F), None),
        (op("TRANSPOSE_CONV", [t("int32", 4), c("float32", 8, 3, 3, 8), F], F), "operand 0"),
        (op("STRIDED_SLICE", [F, PAIR, PAIR, PAIR], t("float32", 4, 4, 8)), "axis"),
        (op("TANH", [t("float32", *[1] * 6)], t("float32", *[1] * 6)), None),
        (op("RESHAPE", [F, AXES], t("float32", *[1] * 7)), "six axes"),
    ],
)
def test_xnnpack(report_on, operation, reason):
    check(report_on(operation).refusals["xnnpack"], reason)


def known(report_on, target):
    """Names of TFLite's operations that a target knows at all, whatever it wants of their operands."""
    names = [name for name in vars(schema.BuiltinOperator) if name.isupper()]
    report = report_on(*[op(name, [Q, Q, Q], Q) for name in names])
    unknown = {r.operation for r in report.refusals[target] if r.reason == "it has no such operation"}
    return set(names) - unknown


def test_the_edge_tpu_knows_what_corals_table_lists(report_on):
    table = """
        Add AveragePool2d Concatenation Conv2d DepthwiseConv2d ExpandDims FullyConnected L2Normalization
        Logistic LSTM Maximum MaxPool2d Mean Minimum Mul Pack Pad PReLU Quantize ReduceMax ReduceMin ReLU
        ReLU6 ReLUN1To1 Reshape ResizeBilinear ResizeNearestNeighbor Rsqrt Slice Softmax SpaceToDepth Split
        Squeeze StridedSlice Sub Sum Squared-difference Tanh Transpose TransposeConv"""
    # of LSTMs, the unidirectional one
    listed = {w.upper().replace("-", "") for w in table.split()} - {"LSTM"} | {"UNIDIRECTIONALSEQUENCELSTM"}
    assert {name.replace("_", "") for name in known(report_on, "edgetpu")} == listed


def test_the_gpu_knows_what_its_page_lists(report_on):
    page = """
        ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXP FULLY_CONNECTED LOGICAL_AND LOGISTIC
        LSTM MAX_POOL_2D MAXIMUM MINIMUM MUL PAD PRELU RELU RELU6 RESHAPE RESIZE_BILINEAR SOFTMAX
        STRIDED_SLICE SUB TRANSPOSE_CONV"""
    assert set(page.split()) <= known(report_on, "gpu")


def check(refusals, reason):
    assert [reason in r.reason for r in refusals] == ([] if reason is None else [True])


def test_constants_are_unpacked_only_for_operations_that_xnnpack_takes(report_on):
    weights = t("float32", 8, 8, name="weights")
    unpack = op("DEQUANTIZE", [c("float16", 8, 8)], weights)
    taken = op("FULLY_CONNECTED", [F, weights], F)
    foreign = op("GATHER", [weights, t("int32", 3)], F)
    assert report_on(unpack, taken).refusals["xnnpack"] == ()
    assert refused(report_on(unpack, taken, foreign), "xnnpack") == [(0, "DEQUANTIZE"), (2, "GATHER")]


def test_pieces_and_the_mapped_one(report_on):
    yes, no = op("TANH", [Q], Q), op("ABS", [Q], Q)
    for operations, pieces, mapped in [
        ((), 0, 0),
        ((no,), 0, 0),
        ((yes,), 1, 1),
        ((yes, yes, no, yes), 2, 2),
        ((no, yes, no, no, yes, yes), 2, 0),
        ((op("QUANTIZE", [F], Q), yes, op("QUANTIZE", [F], Q), yes, op("DEQUANTIZE", [Q], F)), 2, 2),
    ]:
        report = report_on(*operations)
        assert (report.pieces("edgetpu"), report.mapped) == (pieces, mapped)
    assert report_on().share("edgetpu") == 1 and report_on(yes, no, no, no).share("edgetpu") == 0.25


def test_an_operation_without_outputs(report_on):
    held = Operand("variable", (), "resource", False)
    (refusal,) = report_on(op("ASSIGN_VARIABLE", [held, F])).refusals["xnnpack"]
    assert refusal.tensor == ""


def test_no_more_is_rounded_up_to_all(report_on):
    report = report_on(*[op("TANH", [F], F)] * 299, op("TILE", [F, AXES], F))
    assert "299 of 300 (99 %)" in str(report)
    assert "100 of 100 (100 %)" in str(report_on(*[op("TANH", [F], F)] * 100))
    # 1 - 9 / 10 is a little less than 1 / 10
    assert "1 of 10 (10 %)" in str(report_on(op("TANH", [F], F), *[op("TILE", [F, AXES], F)] * 9))
