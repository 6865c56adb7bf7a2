"""Graphs that end the process, fill its memory or reach into it are refused before TensorFlow has them."""

import base64
import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
import tensorflow as tf

from kerasft.hub.graph_check import check_memory, check_structure, reachable
from kerasft.hub.graph_def import GraphDef, constant_node
from kerasft.hub.graph_function import GraphFunction

SCRIPT = Path(__file__).parents[1] / "support" / "hostile_stages.py"

# What a load says of each case of `hostile_stages`; an empty text where it succeeds.
MESSAGES = {
    "unchanged": "",
    "a function": "",
    "itself": "doubled_[0-9]+' calls itself",
    "in a circle": "(doubled|around)_[0-9]+' calls itself",
    "in a branch": "branching_[0-9]+' calls itself|cond_true.* calls itself",
    "in a loop": "while_body.* calls itself",
    "too deep": "more than 100 deep",
    "too often": "comes to [0-9]{7} nodes",
    "of the process": "calls the functions .*doubled.* which are not in it",
    "gradients": "brings gradients of its own",
    "named as an operation": "a function with the name of the operation 'Relu'",
    "bomb": "takes 2[0-9]{6} bytes in the file and unpacks to more than 64 times as many, .*safe_mode=False",
    "many small bombs": "takes 1[0-9]{4} bytes in the file and unpacks to more than 64 times",
    "no zlib": "can't be unpacked",
    "no graph": "can't be read",
    "splat": "say that its constants take 4000000000",
    "splat without end": r"the shape \[1000000000, 1000000000, 1000000000\]",
    "handle": "of the dtype resource",
    "delete": r"one of \['assign', 'assign_add', 'assign_sub'\]; received \['__del__'\]",
    "other method": r"received \['numpy'\]",
    "other position": r"1 weights; received the positions \[7\]",
    "negative position": r"1 weights; received the positions \[-1\]",
    "vast weight": "its weights take 4000000000000 bytes, more than the memory",
    "vast, but less": "its weights take 400000000000 bytes, more than the memory",
    "no weights": "can't be made of its configuration",
    "no stage": "can't be unpacked",
}


def test_a_file_that_means_harm_is_refused_and_the_process_lives(saved, tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), saved("chain"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    found = {entry["case"]: entry for entry in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, (list(found)[-1:], done.stderr[-500:])
    assert found.keys() == MESSAGES.keys()
    for case, message in MESSAGES.items():
        assert bool(message) == (found[case]["error"] == "ValueError"), found[case]
        assert re.search(message, found[case]["message"]), found[case]


def graph_of(**bodies):
    """A graph with functions of these names, which call those that are listed."""
    graph = GraphDef()
    for name, calls in bodies.items():
        function = graph.library.function.add()
        function.signature.name = name
        for number, called in enumerate(calls):
            node = function.node_def.add(name=f"n{number}", op="PartitionedCall")
            node.attr["f"].func.name = called
    return graph


def check(graph):
    check_structure(graph, graph.ByteSize())


def test_what_calls_each_other_without_a_circle_passes():
    check(graph_of())
    check(graph_of(a=["b", "c"], b=["c"], c=[]))
    check(graph_of(**{f"f{i}": [f"f{i + 1}"] for i in range(99)}, f99=[]))
    check(graph_of(**{f"f{i}": [f"f{i + 1}"] * 2 for i in range(18)}, f18=[]))


@pytest.mark.parametrize(
    ("bodies", "message"),
    [
        ({"a": ["a"]}, "'a' calls itself"),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, "'[bc]' calls itself"),
        ({"a": ["b", "c"], "b": [], "c": ["d"], "d": ["a"]}, "'[acd]' calls itself"),
        ({"a": ["b"]}, r"the functions \['b'\], which are not in it"),
        ({**{f"f{i}": [f"f{i + 1}"] for i in range(100)}, "f100": []}, "more than 100 deep"),
        ({**{f"f{i}": [f"f{i + 1}"] * 2 for i in range(20)}, "f20": []}, "comes to [0-9]{7} nodes"),
        ({"MatMul": []}, "the name of the operation 'MatMul'"),
    ],
)
def test_calls_that_are_refused(bodies, message):
    with pytest.raises(
        ValueError, match=f"damaged or was tampered with: .*{message}.* Nothing of it was run"
    ):
        check(graph_of(**bodies))


def test_calls_are_found_wherever_they_are_hidden():
    def lone(change):
        graph = GraphDef()
        change(graph.node.add(name="n", op="If"))
        with pytest.raises(ValueError, match=r"calls the functions \['hidden'\]"):
            check(graph)

    lone(lambda node: node.attr["then_branch"].func.MergeFrom(type(node.attr["f"].func)(name="hidden")))
    lone(lambda node: node.attr["branches"].list.func.add(name="hidden"))

    def inside(node):
        graph_function = node.attr["f"].func
        graph_function.name = "hidden"
        graph_function.attr["g"].func.name = "hidden"

    lone(inside)
    by_operation = graph_of(a=[])
    by_operation.library.function[0].node_def.add(name="n", op="a")
    with pytest.raises(ValueError, match="'a' calls itself"):
        check(by_operation)


def test_a_function_there_twice_is_refused():
    graph = graph_of(a=[])
    graph.library.function.add().signature.name = "a"
    with pytest.raises(ValueError, match="the function 'a' twice"):
        check(graph)


def test_constants_may_say_what_a_quarter_of_a_gigabyte_holds():
    def constant(*shape):
        graph = GraphDef()
        graph.node.append(constant_node("c", np.zeros(1, "float32")))
        sizes = graph.node[0].attr["value"].tensor.tensor_shape
        sizes.Clear()
        for size in shape:
            sizes.dim.add().size = size
        return graph

    check(constant(2**26))
    whole = GraphDef()
    whole.node.append(constant_node("c", np.zeros(2**27, "uint8")))
    check(whole)
    for shape in ((2**27,), (2**40, 2**40), (-1,), (0, 2**40, 2**40), (1,) * 300):
        with pytest.raises(ValueError, match="constants take|the shape"):
            check(constant(*shape))
    placeholder = GraphDef()
    placeholder.node.add(name="x", op="Placeholder").attr["shape"].shape.dim.add().size = -1
    check(placeholder)
    placeholder.node[0].attr["shape"].shape.dim[0].size = -2
    with pytest.raises(ValueError, match=r"the shape \[-2\]"):
        check(placeholder)


def test_reachable_follows_calls():
    library = {f.signature.name: f for f in graph_of(a=["b"], b=["c"], c=[], d=["a"]).library.function}
    assert reachable(["a"], library).keys() == {"a", "b", "c"}
    assert reachable(["c", "none"], library).keys() == {"c"}


def test_a_graph_that_packs_very_well_comes_back():
    with tf.Graph().as_default() as graph:
        tf.constant(np.zeros(2**23, "float32"), name="y0")
    function = GraphFunction(graph.as_graph_def().SerializeToString(), (), ("y0:0",))
    assert len(function.graph) > 64 * len(zlib.compress(function.graph)) > 0
    config = function.to_config()
    assert GraphFunction.from_config(config, safe=True) == function
    config["graph"] = base64.b64encode(
        zlib.compress(function.graph, 9)
    ).decode()  # as earlier versions wrote it
    assert GraphFunction.from_config(config) == function
    with pytest.raises(ValueError, match="unpacks to more than 64 times"):
        GraphFunction.from_config(config, safe=True)


def test_weights_that_the_machine_can_hold_pass():
    half = psutil.virtual_memory().total // 8
    check_memory([{"shape": [half], "dtype": "float32"}, {"shape": [], "dtype": "float32"}])
    with pytest.raises(ValueError, match="more than the memory of this machine"):
        check_memory([{"shape": [half], "dtype": "float64"}, {"shape": [2, 4], "dtype": "int32"}])
