"""Words for protocol buffers: tensors, nodes, and the functions that an attribute names."""

import numpy as np
import tensorflow as tf

from kerasft.hub.graph_def import NodeDef, called_functions, constant_node, node_of, tensor_name


def test_tensors_and_their_nodes():
    assert [tensor_name(t) for t in ("a/b", "a/b:0", "a/b:2")] == ["a/b:0", "a/b:0", "a/b:2"]
    assert node_of("a/b:2") == "a/b"


def test_a_constant_holds_its_value():
    value = np.array([[1.5, -2.0]], "float32")
    node = constant_node("c", value)
    assert (node.name, node.op, node.attr["dtype"].type) == ("c", "Const", tf.float32.as_datatype_enum)
    np.testing.assert_array_equal(tf.make_ndarray(node.attr["value"].tensor), value)


def test_called_functions_are_found_and_can_be_renamed():
    node = NodeDef(name="n", op="Case")
    node.attr["f"].func.name = "one"
    node.attr["branches"].list.func.add(name="two")
    node.attr["branches"].list.func.add(name="three")
    node.attr["T"].type = 1
    assert [f.name for f in called_functions(node.attr["f"])] == ["one"]
    assert [f.name for f in called_functions(node.attr["branches"])] == ["two", "three"]
    assert called_functions(node.attr["T"]) == []
    called_functions(node.attr["branches"])[1].name = "four"
    assert node.attr["branches"].list.func[1].name == "four"
