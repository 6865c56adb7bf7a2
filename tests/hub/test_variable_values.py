"""values_for_handles: reads of variables become values, in the graph and in its functions."""

import tensorflow as tf
from flat_graphs import flat


def test_gather_of_a_handle_becomes_one_of_a_value(saved):
    graph, _, _ = flat(saved("encoder"))
    operations = [n.op for n in graph.nodes.values()]
    assert "ResourceGather" not in operations and operations.count("GatherV2") >= 2


def test_loop_takes_values(saved):
    graph, _, _ = flat(saved("recurrent"))
    loops = [n for n in graph.nodes.values() if n.op in ("While", "StatelessWhile")]
    assert len(loops) == 1
    assert tf.resource.as_datatype_enum not in loops[0].attr["T"].list.type
