"""Damage files by chance, the same for each seed: each is read, or refused by a documented error.

    python tests/support/fuzz.py --count 10000 --seed 1 --kinds keras tflite pack json

prints how many of each kind were read and refused. Another error is shown with its mutant's number, a crash
leaves the number in the file --last; `--only KIND NUMBER` reads one mutant again. A mutant that takes longer
than ten seconds is an error, too.
"""

import argparse
import contextlib
import faulthandler
import json
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SECONDS = 10
ODD = [
    *(
        None,
        True,
        -1,
        0,
        1,
        2**31,
        2**63,
        10**400,
        -(10**400),
        1e308,
        0.5,
        "",
        "a",
        "../a",
        "\0",
        [],
        {},
        [[]],
    ),
    *(
        [-1],
        [2**40],
        [None],
        {"a": 1},
        float("nan"),
        float("inf"),
        "assign",
        "float32",
        "resource",
        "é\ud800",
    ),
]


def odd_value(rng, known=()):
    return rng.choice([*ODD, *known])


def bytes_changed(content, rng, begin=0):
    """The bytes with a few changed, cut out, doubled or cut off."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(begin, max(begin + 1, len(content)))
        kind = rng.randrange(6)
        if kind < 3:
            content[at : at + 1] = bytes([rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])])
        elif kind == 3:
            del content[at : at + rng.choice([1, 4, 100])]
        elif kind == 4:
            content[at:at] = content[at : at + rng.choice([1, 4, 100])]
        else:
            content[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80"])
    return bytes(content[: rng.randrange(begin, len(content) + 1)] if rng.random() < 0.1 else content)


def value_changed(value, rng):
    """JSON data with one value replaced, removed, doubled, or put elsewhere."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.randint(1, 2)):
        places, stack = [], [value]
        while stack:
            inner = stack.pop()
            keys = list(inner) if isinstance(inner, dict) else range(len(inner))
            places += [(inner, key) for key in keys]
            stack += [inner[key] for key in keys if isinstance(inner[key], dict | list)]
        if not places:
            return value
        holder, key = rng.choice(places)
        if rng.random() < 0.2:
            del holder[key]
        else:
            other, theirs = rng.choice(places)
            holder[key] = odd_value(
                rng, [json.loads(json.dumps(other.get(theirs) if isinstance(other, dict) else 0))]
            )
    return value


def text_changed(value, rng):
    """The JSON of a changed value, or a changed text, or one nested without end."""
    text = json.dumps(value)
    if rng.random() < 0.6:
        return json.dumps(value_changed(value, rng))
    if rng.random() < 0.05:
        return rng.choice(["[", '{"a":', "["]) * rng.choice([900, 10**5])
    return bytes_changed(text.encode(), rng).decode(errors="replace")


class Json:
    """Schedules, and the reports and ladders of exports."""

    errors = (ValueError,)

    def __init__(self, folder):
        from kerasft.export import Ladder
        from ladder_reports import REPORTS

        from kerasft import Phase, UnfreezingSchedule

        schedule = UnfreezingSchedule(
            [Phase("head", epochs=2, learning_rate=1e-3), Phase(0, patience=2, monitor="val_loss")]
        )
        ladder = Ladder(dict(REPORTS), {"dynamic": "it broke."}, "int8", "int8 is the choice.")
        written = {"schedule": schedule, "report": REPORTS["int8"], "ladder": ladder}
        self.texts = {name: json.loads(value.to_json()) for name, value in written.items()}

    def read(self, rng):
        from kerasft.export import Ladder, Report

        from kerasft import UnfreezingSchedule

        name = rng.choice(list(self.texts))
        text = text_changed(self.texts[name], rng)
        if name == "schedule":
            found = rng.choice([UnfreezingSchedule.from_json, UnfreezingSchedule.from_yaml])
            return found("{" + text if not text.lstrip().startswith("{") else text)
        return (Report if name == "report" else Ladder).from_json(text)


def small_tflite(folder):
    import keras

    from kerasft import export

    path = folder / "model.tflite"
    if not path.exists():
        layers = [keras.layers.Conv2D(3, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)]
        model = keras.Sequential([keras.Input((6, 6, 3), name="image"), *layers])
        return export.to_tflite(model, path)
    return None


class Tflite:
    """What reads .tflite files without a runtime: the report for accelerators, metadata, changes."""

    errors = (ValueError,)

    def __init__(self, folder):
        small_tflite(folder)
        self.content = (folder / "model.tflite").read_bytes()

    def read(self, rng):
        from kerasft.export import add_metadata, readiness
        from kerasft.export.tflite_file import in_float, read_operations, unpacked

        content = bytes_changed(self.content, rng, begin=8)
        str(readiness(content))
        in_float(read_operations(content))
        unpacked(content)
        return add_metadata(content, labels=list("abcd"))


class Pack:
    """Golden packs: their archive, their manifest, and at times their model, which runs apart."""

    def __init__(self, folder):
        import numpy as np

        from kerasft import export

        self.errors = (export.PackError, OSError)
        report = small_tflite(folder / "..") or small_tflite(folder)
        export.to_pack(report, folder / "pack.zip", golden=np.ones((2, 6, 6, 3), "float32"))
        self.path = folder / "mutant.zip"
        self.whole = (folder / "pack.zip").read_bytes()
        with zipfile.ZipFile(folder / "pack.zip") as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}

    def read(self, rng):
        from kerasft.export.clients import verify

        kind = rng.random()
        if kind < 0.3:
            self.path.write_bytes(bytes_changed(self.whole, rng))
            return verify.verify_here(self.path)
        members = dict(self.members)
        manifest = json.loads(members["manifest.json"])
        if kind < 0.98:
            members["manifest.json"] = text_changed(manifest, rng).encode(errors="replace")
            run = verify.verify_here
        else:
            import hashlib

            members["model.tflite"] = bytes_changed(members["model.tflite"], rng, begin=8)
            digest = hashlib.sha256(members["model.tflite"]).hexdigest()
            manifest["files"]["model.tflite"]["sha256"] = digest
            members["manifest.json"] = json.dumps(manifest).encode()

            def run(path):
                return verify.verify_pack(path, seconds=SECONDS - 2)

        with zipfile.ZipFile(self.path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return run(self.path)


class Keras:
    """Hub stages of `.keras` files in safe mode: their configuration, and their graphs node by node."""

    errors = (ValueError,)

    def __init__(self, folder):
        import tensorflow as tf

        import kerasft

        class Branching(tf.Module):
            def __init__(self):
                self.kernel = tf.Variable(tf.eye(4), name="a/kernel")
                self.mean = tf.Variable(tf.zeros(4), trainable=False, name="a/mean")

            @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
            def __call__(self, x):
                x = tf.nn.relu(tf.matmul(x, self.kernel) + self.mean)
                x = tf.reshape(tf.reshape(x, (-1, 2, 2, 1)), (-1, 4))
                return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y + 1.0), (0, x))[1]

        tf.saved_model.save(Branching(), str(folder / "model"))
        model = kerasft.hub.load_backbone(folder / "model")
        self.config = json.loads(json.dumps(model.layers[-1].get_config()))
        self.config["training"] = self.config["inference"]
        self.config["updates"] = []

    def read(self, rng):
        import keras

        from kerasft.hub import HubStage
        from kerasft.hub.graph_function import GraphFunction

        config = json.loads(json.dumps(self.config))
        if rng.random() < 0.4:
            config = value_changed(config, rng)
        else:
            side = rng.choice(["inference", "training"])
            function = GraphFunction.from_config(config[side])
            graph = (
                bytes_changed(function.graph, rng)
                if rng.random() < 0.3
                else graph_changed(function.graph, rng)
            )
            config[side] = GraphFunction(graph, function.inputs, function.outputs).to_config()
        stage = HubStage.from_config(config)
        stage.batch_norm = "train"
        for training in (False, True):
            stage.compute_output_spec(keras.KerasTensor((None, 4)), training=training)
        return stage


def graph_changed(content, rng):
    """A serialized graph with a few nodes changed: operations, inputs, attributes, functions."""
    from kerasft.hub.allowed_ops import ALLOWED_OPS
    from kerasft.hub.graph_def import GraphDef

    graph = GraphDef.FromString(content)
    groups = [graph.node, *(f.node_def for f in graph.library.function)]
    nodes = [node for group in groups for node in group]
    for _ in range(rng.randint(1, 3)):
        node, other = rng.choice(nodes), rng.choice(nodes)
        kind = rng.randrange(7)
        if kind == 0:
            node.op = rng.choice(sorted(ALLOWED_OPS))
        elif kind == 1 and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice([other.name, "^" + other.name, "x:0", ""])
        elif kind == 2 and node.input:
            del node.input[rng.randrange(len(node.input))]
        elif kind == 3:
            node.name = rng.choice([other.name, "", "a/b", "x" * 1000])
        elif other.attr and node.attr:
            theirs, own = rng.choice(sorted(other.attr)), rng.choice(sorted(node.attr))
            if kind == 4:
                node.attr[own].CopyFrom(other.attr[theirs])
            elif kind == 5:
                node.attr.pop(own)
            else:
                value_of_attribute_changed(node.attr[own], rng)
    return graph.SerializeToString()


def value_of_attribute_changed(value, rng):
    number = rng.choice([-(2**63), -1, 0, 1, 2, 1000, 2**31, 2**40, 2**63 - 1])
    shapes = [value.shape, value.tensor.tensor_shape]
    shape = shapes[1 if value.HasField("tensor") else 0]
    kind = rng.randrange(5)
    if kind == 0:
        shape.dim.add().size = number
    elif kind == 1 and shape.dim:
        shape.dim[rng.randrange(len(shape.dim))].size = number
    elif kind == 2:
        value.i = number
    elif kind == 3:
        value.type = rng.randrange(0, 120)
    else:
        value.list.i.append(number)


KINDS = {"json": Json, "tflite": Tflite, "pack": Pack, "keras": Keras}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--last", type=Path)
    parser.add_argument("--only", nargs=2)
    arguments = parser.parse_args()
    faulthandler.enable()
    warnings.simplefilter("ignore")
    failed = False
    for kind in [arguments.only[0]] if arguments.only else arguments.kinds:
        with tempfile.TemporaryDirectory() as folder:
            target = KINDS[kind](Path(folder))
            counts = {"read": 0, "refused": 0}
            numbers = [int(arguments.only[1])] if arguments.only else range(arguments.count)
            for number in numbers:
                if arguments.last:
                    arguments.last.write_text(f"{kind} {number}")
                failed |= not one(target, kind, number, arguments.seed, counts)
            print(json.dumps({"kind": kind, **counts}), flush=True)
    return int(failed)


def one(target, kind, number, seed, counts):
    """Read one mutant; whether it ended as it should."""
    rng = random.Random(f"{seed} {kind} {number}")
    begin = time.perf_counter()
    faulthandler.dump_traceback_later(6 * SECONDS, exit=True)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            target.read(rng)
        counts["read"] += 1
    except target.errors:
        counts["refused"] += 1
    except BaseException:
        print(f"{kind} {number} of seed {seed}:\n{traceback.format_exc()[-1500:]}", flush=True)
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()
    if time.perf_counter() - begin > SECONDS:
        print(f"{kind} {number} of seed {seed} took {time.perf_counter() - begin:.0f} seconds", flush=True)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
