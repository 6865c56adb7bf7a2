"""What TensorFlow would run while it opens a SavedModel is looked at first."""

import contextlib
import gc
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from kerasft import _keras
from kerasft.hub.flatten import parse_saved_model
from kerasft.hub.load import load_backbone
from kerasft.hub.saved_model_check import _OUTSIDE, check_saved_model

X = np.ones((2, 4), "float32")


class Backbone(tf.Module):
    """A network of two kernels, to which tests attach something."""

    def __init__(self, **attached):
        self.first = tf.Variable(tf.eye(4) + 0.5, name="first/kernel")
        self.second = tf.Variable(tf.eye(4) - 0.25, name="second/kernel")
        for name, value in attached.items():
            setattr(self, name, value)

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
    def __call__(self, x):
        return tf.matmul(tf.nn.relu(tf.matmul(x, self.first)), self.second)


class Resource(tf.saved_model.experimental.TrackableResource):
    """A table, of which one of the functions that TensorFlow calls by itself does something more."""

    def __init__(self, place, more):
        self.place, self.more = place, more
        super().__init__()

    def _create_resource(self):
        self._more("create")
        return tf.raw_ops.MutableHashTableV2(key_dtype=tf.string, value_dtype=tf.int64, shared_name="t")

    def _initialize(self):
        self._more("initialize")

    def _destroy_resource(self):
        self._more("destroy")

    def _more(self, place):
        if place == self.place and not tf.executing_eagerly():
            self.more()


@pytest.fixture
def marker(tmp_path):
    """A file that harm would write."""
    return tmp_path / "written"


def writing(marker):
    def write():
        tf.io.write_file(str(marker), "harm")

    return write


def hidden(marker):
    @tf.function
    def inner():
        if tf.random.uniform(()) >= 0.0:
            tf.io.write_file(str(marker), "harm")

    return inner


def saved_in(tmp_path, model):
    path = str(tmp_path / "model")
    tf.saved_model.save(model, path)
    return path


def changed(path, change):
    """The SavedModel after a change of its protocol buffer."""
    file = os.path.join(path, "saved_model.pb")
    with open(file, "rb") as opened:
        model = parse_saved_model(opened.read())
    change(model.meta_graphs[0])
    with open(file, "wb") as opened:
        opened.write(model.SerializeToString())
    return path


@pytest.mark.parametrize("place", ["create", "initialize", "destroy"])
@pytest.mark.parametrize("how", [writing, hidden])
def test_what_the_functions_of_a_resource_do_is_refused_before_it_is_done(place, how, marker, tmp_path):
    path = saved_in(tmp_path, Backbone(resource=Resource(place, how(marker))))
    marker.unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"outside the model .*'WriteFile'.* it was not opened.*trust=True"):
        load_backbone(path)
    assert not marker.exists()
    loaded = tf.saved_model.load(path)  # TensorFlow alone does it
    if place == "create":
        assert loaded.resource.resource_handle is not None
    del loaded
    gc.collect()
    assert marker.exists()
    marker.unlink()
    model = load_backbone(path, trust=True)
    np.testing.assert_allclose(model(X), Backbone()(X), rtol=1e-6)


def test_a_resource_that_stays_inside_the_model_is_opened(tmp_path):
    path = saved_in(tmp_path, Backbone(resource=Resource("initialize", lambda: tf.constant(1.0) * 2.0)))
    np.testing.assert_allclose(load_backbone(path)(X), Backbone()(X), rtol=1e-6)


def test_a_file_that_a_shape_depends_on_is_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("12345")

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
    def beside(x):
        length = tf.strings.length(tf.io.read_file(str(secret)))
        return tf.reshape(x, tf.stack([length, 4]))

    path = saved_in(tmp_path, Backbone(beside=beside))
    loaded = tf.saved_model.load(path)  # TensorFlow reads it, and shows what is in it
    assert loaded.beside.concrete_functions[0].outputs[0].shape == (5, 4)
    with pytest.raises(ValueError, match=r"\['ReadFile'\].* it was not opened"):
        load_backbone(path)


def children(graph, owner):
    return graph.object_graph_def.nodes[owner].children


@pytest.mark.parametrize("hook", ["_gather_saveables_for_checkpoint", "_restore_from_tensors", "_anything"])
def test_a_function_under_a_name_that_tensorflow_calls_is_held_to_the_list(hook, marker, tmp_path):
    function = tf.function(writing(marker), input_signature=[])
    path = saved_in(tmp_path, Backbone(harm=function))
    marker.unlink(missing_ok=True)
    load_backbone(path)  # as it is, nobody calls it

    def rename(graph):
        next(c for c in children(graph, 0) if c.local_name == "harm").local_name = hook

    changed(path, rename)
    with pytest.raises(ValueError, match="'WriteFile'"):
        load_backbone(path)
    assert not marker.exists()
    if hook == "_gather_saveables_for_checkpoint":  # that TensorFlow calls it is not a guess
        with contextlib.suppress(Exception):  # whatever it makes of the result
            tf.saved_model.load(path)
        assert marker.exists()


def test_a_function_on_a_variable_or_behind_an_object_is_held_to_the_list(marker, tmp_path):
    class Holder(tf.Module):
        @tf.function(input_signature=[])
        def __call__(self):
            tf.io.write_file(str(marker), "harm")

    path = saved_in(tmp_path, Backbone(holder=Holder()))
    copy = shutil.copytree(path, tmp_path / "copy")
    load_backbone(path)

    def on_variable(graph):
        nodes = graph.object_graph_def.nodes
        variable = next(n for n in nodes if n.WhichOneof("kind") == "variable")
        holder = next(c.node_id for c in children(graph, 0) if c.local_name == "holder")
        variable.children.add(local_name="value", node_id=holder)

    def behind(graph):
        next(c for c in children(graph, 0) if c.local_name == "holder").local_name = "_lookup_dependency"

    for folder, change in ((path, on_variable), (copy, behind)):
        with pytest.raises(ValueError, match="'WriteFile'"):
            load_backbone(changed(folder, change))
    assert not marker.exists()


class TestTables:
    """Tables beside the network are filled from the model's own assets, and from nothing else."""

    @pytest.fixture
    def path(self, tmp_path):
        words = tmp_path / "vocab.txt"
        words.write_text("a\nb\nc\n")
        filled = tf.lookup.TextFileInitializer(
            str(words),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        listed = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
        model = Backbone(
            table=tf.lookup.StaticHashTable(filled, -1), other=tf.lookup.StaticHashTable(listed, 0.0)
        )
        path = saved_in(tmp_path, model)
        words.unlink()
        return path

    def test_they_are_opened(self, path):
        np.testing.assert_allclose(load_backbone(path)(X), Backbone()(X), rtol=1e-6)

    @pytest.mark.parametrize("name", ["../../secret", "/etc/hostname", "a/../../b", "C:secret", "..\\secret"])
    def test_an_asset_elsewhere_is_refused(self, path, name):
        def change(graph):
            graph.asset_file_def[0].filename = name

        with pytest.raises(ValueError, match=r"its assets .* lie outside"):
            load_backbone(changed(path, change))

    def test_a_file_that_is_no_asset_is_refused(self, path):
        def change(graph):
            function, node = next(
                (f, n)
                for f in graph.graph_def.library.function
                for n in f.node_def
                if n.op == "InitializeTableFromTextFileV2"
            )
            constant = function.node_def.add(name="elsewhere", op="Const")
            constant.attr["dtype"].type = tf.string.as_datatype_enum
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/etc/hostname"))
            node.input[1] = "elsewhere:output:0"

        with pytest.raises(ValueError, match=r"\['InitializeTableFromTextFileV2'\]"):
            load_backbone(changed(path, change))


class TestDamage:
    """Folders that are damaged, or of another kind, are refused by one error that says so."""

    @pytest.fixture
    def path(self, tmp_path):
        return saved_in(tmp_path, Backbone())

    def test_a_function_that_calls_itself(self, path):
        def change(graph):
            function = graph.graph_def.library.function[0]
            function.node_def.add(name="again", op="PartitionedCall").attr[
                "f"
            ].func.name = function.signature.name

        with pytest.raises(ValueError, match="calls itself"):
            load_backbone(changed(path, change))

    def test_a_reference_that_leads_nowhere(self, path, tmp_path):
        copies = [shutil.copytree(path, tmp_path / str(i)) for i in range(4)]

        def function_kind(graph):
            return next(
                n for n in graph.object_graph_def.nodes if n.WhichOneof("kind") == "function"
            ).function

        changes = [
            lambda graph: setattr(children(graph, 0)[0], "node_id", 99),
            lambda graph: setattr(children(graph, 0)[0], "node_id", -1),
            lambda graph: function_kind(graph).concrete_functions.append("nowhere"),
            lambda graph: graph.object_graph_def.nodes[0].saveable_objects["a"].MergeFromString(b"\x10\x63"),
        ]
        for copy, change in zip(copies, changes):
            with pytest.raises(
                ValueError, match=r"refers to (an object that is not|the functions \['nowhere'\])"
            ):
                load_backbone(changed(copy, change))

    @pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
    def test_a_file_that_is_cut_off(self, path, part):
        file = os.path.join(path, "saved_model.pb")
        with open(file, "rb") as opened:
            whole = opened.read()
        with open(file, "wb") as opened:
            opened.write(whole[: int(part * len(whole))])
        with pytest.raises(ValueError, match="can't be read|format of TensorFlow 1|refers to"):
            load_backbone(path)

    def test_the_format_of_tensorflow_1(self, tmp_path):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            x = tf.compat.v1.placeholder(tf.float32, (None, 4), name="x")
            init = tf.io.write_file(str(tmp_path / "written"), "harm")
            builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "model"))
            signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": x + 1.0})
            builder.add_meta_graph_and_variables(session, ["serve"], {"serve": signature}, main_op=init)
            builder.save()
        with pytest.raises(ValueError, match=r"format of TensorFlow 1, .* the signatures .*'serve'"):
            load_backbone(tmp_path / "model")
        assert not (tmp_path / "written").exists()

    @pytest.mark.parametrize("name", ["saved_model.cpb", "saved_model.pbtxt"])
    def test_other_encodings_are_left_to_trust(self, path, name):
        with open(os.path.join(path, name), "wb") as opened:
            opened.write(b"")
        with pytest.raises(ValueError, match=f"holds .'{name}'., which can't be checked.*trust=True"):
            load_backbone(path)

    @pytest.mark.skipif(os.name == "nt", reason="no named pipes")
    def test_a_pipe_is_not_waited_for(self, path):
        file = os.path.join(path, "saved_model.pb")
        os.remove(file)
        os.mkfifo(file)
        with pytest.raises(ValueError, match=r"saved_model\.pb is no file"):
            load_backbone(path)

    def test_variables_that_are_not_there(self, path):
        (data,) = [f for f in os.listdir(os.path.join(path, "variables")) if ".data-" in f]
        with open(os.path.join(path, "variables", data), "r+b") as opened:
            opened.truncate(100)
        with pytest.raises(ValueError, match="variables take [0-9]+ bytes, and their files hold 100"):
            load_backbone(path)

    def test_an_index_of_variables_that_is_damaged(self, path):
        with open(os.path.join(path, "variables", "variables.index"), "r+b") as opened:
            opened.truncate(20)
        with pytest.raises(ValueError, match=r"variables\.index can't be read"):
            load_backbone(path)

    def test_a_model_that_is_written_anew_meanwhile(self, path, monkeypatch):
        load = tf.saved_model.load

        def replaced(folder):
            changed(folder, lambda graph: None)
            return load(folder)

        monkeypatch.setattr(tf.saved_model, "load", replaced)
        with pytest.raises(ValueError, match="was written anew while it was read"):
            load_backbone(path)


def test_all_that_tensorflow_may_compute_with_a_shape_and_that_reaches_outside_is_known():
    assert not any(_keras.is_stateless(op) for op in ("WriteFile", "VarHandleOp", "NoSuchOperation"))
    reach = """Abort CopyHost DebugIdentity DebugNumericSummaryV2 DecodeProtoV2 EncodeProto
    GenerateVocabRemapping ImmutableConst MatchingFiles PyFuncStateless ReadFile SnapshotDatasetReader
    SleepDataset""".split()
    assert [op for op in reach if not (_OUTSIDE.search(op) and _keras.is_stateless(op))] == []
    harmless = (
        "ShardedFilename ShardedFilespec DisableCopyOnRead MatMul DecodeJpeg StringSplitV2 Tile".split()
    )
    assert not any(_OUTSIDE.search(op) for op in harmless)


def test_every_kind_of_model_of_these_tests_passes(saved, tf_keras_cnn, tf_keras_lstm):
    for name in ("residual", "encoder", "recurrent", "looks_up", "prints", "loss_of_all", "serving_only"):
        check_saved_model(saved(name))
    for path in (tf_keras_cnn, tf_keras_lstm):
        check_saved_model(path)
