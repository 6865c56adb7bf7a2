"""cut_points and segments: order in a graph."""

import networkx

from kerasft.stages.dominators import cut_points, segments


def test_cut_points_against_removing_each_node():
    """A node is a cut exactly if its removal leaves no path from a root to the sink."""
    graph = networkx.DiGraph(
        [("r", "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "e"), ("s", "d"), ("e", "t")]
    )
    roots = ["r", "s"]
    expected = []
    for node in networkx.topological_sort(graph):
        rest = graph.copy()
        rest.remove_node(node)
        if node == "t" or not any(r in rest and networkx.has_path(rest, r, "t") for r in roots):
            expected.append(node)
    assert cut_points(graph, ["t"]) == expected == ["d", "e", "t"]
    where = segments(graph, ["d", "e"])
    assert where == {"r": 0, "a": 0, "b": 0, "c": 0, "s": 0, "d": 0, "e": 1, "t": 2}
