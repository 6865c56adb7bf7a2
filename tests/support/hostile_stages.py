"""Load `.keras` files whose Hub stage was changed by somebody who means harm, one after the other.

    python hostile_stages.py SAVEDMODEL FOLDER [CASE ...]

prints a line of JSON for each: its name, the error's type and its message. A load that ends the process ends
the lines.
"""

import base64
import json
import os
import sys
import zipfile
import zlib
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import kerasft
from kerasft.hub.graph_function import GraphFunction


def first_stage(config):
    return next(x for x in config["config"]["layers"] if x["class_name"] == "HubStage")["config"]


def rewritten(source, target, change):
    """A copy of a `.keras` file after a change of its first Hub stage's configuration."""
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    change(first_stage(config))
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def in_graph(change):
    """A change of the configuration that is one of the inference graph."""

    def apply(config):
        function = GraphFunction.from_config(config["inference"])
        graph = tf.compat.v1.GraphDef.FromString(function.graph)
        change(graph)
        changed = GraphFunction(graph.SerializeToString(), function.inputs, function.outputs)
        config["inference"] = changed.to_config()

    return apply


VECTOR = tf.TensorSpec((None, 4), tf.float32)


@tf.function(input_signature=[VECTOR])
def doubled(x):
    return 2.0 * x


@tf.function(input_signature=[VECTOR])
def around(x):
    return doubled(x)


@tf.function(input_signature=[VECTOR])
def branching(x):
    return tf.cond(tf.reduce_sum(x) > 0, lambda: doubled(x), lambda: x)


@tf.function(input_signature=[VECTOR])
def looping(x):
    return tf.while_loop(lambda x: tf.reduce_sum(x) > 0, lambda x: (doubled(x),), (x,))[0]


def calling(function, rewire=lambda library: None):
    """Add `y0 + function(y0)` to a graph, as its result, with a library that `rewire` changes."""

    def change(graph):
        with tf.Graph().as_default() as other:
            x = tf.compat.v1.placeholder(tf.float32, (None, 4), name="given")
            tf.add(x, function(x), name="more")
        added = other.as_graph_def()
        (result,) = (n for n in graph.node if n.name == "y0")
        end = result.input[0]
        for node in added.node:
            if node.name != "given":
                node.input[:] = [end if t.startswith("given") else t for t in node.input]
                graph.node.append(node)
        result.input[0] = "more"
        graph.library.CopyFrom(added.library)
        rewire(graph.library)

    return in_graph(change)


def named(library, word):
    return next(f for f in library.function if word in f.signature.name)


def redirect(word, to):
    """Let a function that is called by one whose name has `word` be the one whose name has `to`."""

    def rewire(library):
        for node in named(library, word).node_def:
            for key in ("f", "then_branch", "else_branch", "body", "cond"):
                if key in node.attr:
                    node.attr[key].func.name = named(library, to).signature.name

    return rewire


def itself(library):
    """Let `doubled` call itself."""
    function = named(library, "doubled")
    body = function.node_def.add(name="again", op="PartitionedCall", input=["x"])
    body.attr["f"].func.name = function.signature.name
    for key in ("Tin", "Tout"):
        body.attr[key].list.type.append(tf.float32.as_datatype_enum)
    function.ret["identity"] = "again:output:0"


def in_circle(library):
    """Let `doubled` call what calls it."""
    itself(library)
    outer = next(f for f in library.function if "around" in f.signature.name)
    named(library, "doubled").node_def[-1].attr["f"].func.name = outer.signature.name


def nested(depth, width):
    """Functions that call the next one `width` times, `depth` of them."""

    def rewire(library):
        first = named(library, "doubled")
        for level in range(depth):
            copy = library.function.add()
            copy.CopyFrom(first)
            copy.signature.name = f"level{level}"
            del copy.node_def[:]
            last = "x"
            for call in range(width):
                node = copy.node_def.add(name=f"call{call}", op="PartitionedCall", input=[last])
                deeper = f"level{level + 1}" if level < depth - 1 else first.signature.name
                node.attr["f"].func.name = deeper
                for key in ("Tin", "Tout"):
                    node.attr[key].list.type.append(tf.float32.as_datatype_enum)
                last = f"call{call}:output:0"
            copy.ret[copy.signature.output_arg[0].name] = last
        around = named(library, "around")
        around.node_def[0].attr["f"].func.name = "level0"

    return rewire


def forget(library):
    """Leave `doubled` out of the file, though the process knows it."""
    name = named(library, "doubled").signature.name
    kept = [f for f in library.function if f.signature.name != name]
    copies = [type(f).FromString(f.SerializeToString()) for f in kept]
    del library.function[:]
    library.function.extend(copies)


def gradient(library):
    name = named(library, "doubled").signature.name
    library.gradient.add(function_name=name, gradient_func=name)


def splat(sizes):
    def change(graph):
        node = graph.node.add(name="vast", op="Const")
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        node.attr["value"].tensor.dtype = tf.float32.as_datatype_enum
        node.attr["value"].tensor.float_val.append(1.0)
        for size in sizes:
            node.attr["value"].tensor.tensor_shape.dim.add().size = size
        graph.node.add(name="least", op="Max", input=["vast", "every"])
        graph.node[-1].attr["T"].type = tf.float32.as_datatype_enum
        graph.node[-1].attr["Tidx"].type = tf.int32.as_datatype_enum
        graph.node.add(name="every", op="Const").attr["dtype"].type = tf.int32.as_datatype_enum
        graph.node[-1].attr["value"].tensor.CopyFrom(tf.make_tensor_proto([*range(len(sizes))], "int32"))
        (result,) = (n for n in graph.node if n.name == "y0")
        graph.node.add(name="more", op="AddV2", input=[result.input[0], "least"])
        graph.node[-1].attr["T"].type = tf.float32.as_datatype_enum
        result.input[0] = "more"

    return in_graph(change)


def opaque(graph):
    node = graph.node.add(name="handle", op="Const")
    node.attr["dtype"].type = node.attr["value"].tensor.dtype = tf.resource.as_datatype_enum
    node.attr["value"].tensor.resource_handle_val.add(name="somebody's")


def bomb(config):
    """Two MB that unpack to two GiB, which the graph's reader would skip."""
    unknown = b"\xfa\x3e" + b"\xff\xff\xff\xff\x07"  # field 1007, a string of 2**31 - 1 bytes
    packing = zlib.compressobj(9)
    parts = [packing.compress(unknown)] + [packing.compress(bytes(2**24)) for _ in range(2**7)]
    config["inference"]["graph"] = base64.b64encode(b"".join(parts) + packing.flush()).decode()


def small_bombs(config):
    """A hundred graphs without fault in one stage, each of some KB that unpack to 16 MiB."""
    with tf.Graph().as_default() as graph:
        tf.constant(np.zeros(2**22 - 2**10, "float32"), name="y0")
    packed = base64.b64encode(zlib.compress(graph.as_graph_def().SerializeToString(), 9)).decode()
    config["regularizers"] = [[{"graph": packed, "inputs": [], "outputs": ["y0:0"]}, []]] * 100


def updating(position, method):
    def change(config):
        config["training"], config["updates"] = config["inference"], [[position, method]]

    return change


CASES = {
    "unchanged": lambda config: None,
    "a function": calling(around),
    "itself": calling(doubled, itself),
    "in a circle": calling(around, in_circle),
    "in a branch": calling(branching, redirect("cond_true", "branching")),
    "in a loop": calling(looping, redirect("while_body", "while_body")),
    "too deep": calling(around, nested(5000, 1)),
    "too often": calling(around, nested(40, 2)),
    "of the process": calling(doubled, forget),
    "gradients": calling(doubled, gradient),
    "named as an operation": calling(
        doubled, lambda library: library.function.add().signature.MergeFromString(b"\n\x04Relu")
    ),
    "bomb": bomb,
    "many small bombs": small_bombs,
    "no zlib": lambda config: config["inference"].update(graph="AAAA"),
    "no graph": lambda config: config["inference"].update(
        graph=base64.b64encode(zlib.compress(b"\xff" * 99)).decode()
    ),
    "splat": splat([10**5, 10**6]),
    "splat without end": splat([10**9, 10**9, 10**9]),
    "handle": in_graph(opaque),
    "delete": updating(0, "__del__"),
    "other method": updating(0, "numpy"),
    "other position": updating(7, "assign"),
    "negative position": updating(-1, "assign"),
    "vast weight": lambda config: config["weights"][0].update(shape=[10**6, 10**6]),
    "no weights": lambda config: config.pop("weights"),
    "vast, but less": lambda config: config["weights"][0].update(shape=[10**6, 10**5]),
    "no stage": lambda config: config.update(inference=None),
}


def main():
    folder = Path(sys.argv[2])
    kerasft.hub.load_backbone(sys.argv[1]).save(folder / "model.keras")
    for function in (doubled, around, branching, looping):
        function.get_concrete_function()  # now the process knows it
    if os.name == "posix":
        import resource

        limit = 2**33  # bytes: what fills the memory ends in an error, not in swap
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    for name in sys.argv[3:] or CASES:
        rewritten(folder / "model.keras", folder / "changed.keras", CASES[name])
        try:
            keras.models.load_model(folder / "changed.keras")(tf.ones((1, 4)))
            found = ["", ""]
        except Exception as error:
            found = [type(error).__name__, str(error)]
        print(json.dumps({"case": name, "error": found[0], "message": found[1]}), flush=True)


if __name__ == "__main__":
    main()
