"""Properties that hold of all graphs of calls, all stages' graphs and all texts, by hypothesis."""

import json

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kerasft.export.clients.verify import PackError, verify_here

from kerasft.files import parse_json
from kerasft.hub.graph_check import check_structure, reachable
from kerasft.hub.graph_def import GraphDef, name_by_content
from kerasft.hub.graph_function import GraphFunction

NAMES = [f"f{i}" for i in range(7)]
CALLS = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def graph_of(calls):
    graph = GraphDef()
    for name, called in calls.items():
        function = graph.library.function.add()
        function.signature.name = name
        for number, other in enumerate(called):
            function.node_def.add(name=f"n{number}", op="PartitionedCall").attr["f"].func.name = other
    return graph


@given(CALLS)
def test_calls_pass_where_they_end_and_stay_in_the_file(calls):
    """networkx says which graphs of calls have a circle."""
    graph = networkx.DiGraph([(a, b) for a, called in calls.items() for b in called])
    sound = networkx.is_directed_acyclic_graph(graph) and set(graph) <= set(calls)
    definition = graph_of(calls)
    if sound:
        check_structure(definition, definition.ByteSize())
    else:
        with pytest.raises(ValueError, match="calls itself|which are not in it"):
            check_structure(definition, definition.ByteSize())
    library = {f.signature.name: f for f in definition.library.function}
    for name in calls:
        expected = ({name} | networkx.descendants(graph, name)) if name in graph else {name}
        assert reachable([name], library).keys() == expected & library.keys()


@given(CALLS)
def test_names_by_content_keep_the_calls(calls):
    calls = {name: [other for other in called if other in calls] for name, called in calls.items()}
    definition = graph_of(calls)
    name_by_content(definition)
    functions = list(definition.library.function)
    new = {f.signature.name: old for f, old in zip(functions, calls)}
    assert len(new) == len(calls)
    for function, called in zip(functions, calls.values()):
        assert [new[n.attr["f"].func.name] for n in function.node_def] == called
    again = GraphDef.FromString(definition.SerializeToString())
    name_by_content(again)
    assert again == definition


@given(st.binary(max_size=2000), st.lists(st.text(max_size=5), max_size=3))
def test_a_graph_comes_back_from_its_configuration(content, ends):
    function = GraphFunction(content, tuple(ends), tuple(ends[::-1]))
    assert GraphFunction.from_config(json.loads(json.dumps(function.to_config()))) == function


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=3))
def test_a_configuration_of_no_kind_is_refused(config):
    with pytest.raises(ValueError, match="damaged"):
        GraphFunction.from_config(config, safe=True)


@given(VALUES)
def test_json_is_what_was_written(value):
    assert parse_json(json.dumps(value), "It") == value


@given(st.text())
def test_a_text_is_json_or_refused_by_name(text):
    try:
        json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match="^It is not valid JSON"):
            parse_json(text, "It")


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from(["format", "format_version", "files", "cases", "model"]), VALUES) | VALUES
)
def test_a_manifest_of_no_kind_is_refused(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("pack")
    (folder / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(PackError, match=r"manifest\.json|is a .* this reads"):
        verify_here(folder)
