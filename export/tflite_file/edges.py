"""The order in which a .tflite file itself has the inputs and outputs of its signature."""

from __future__ import annotations

from .schema import model_of, reading


def edge_order(content: bytes) -> tuple[list[str], list[str]]:
    """The names of a signature's inputs and of its outputs in the order of the graph.

    Interpreters without signatures, such as TFLite Micro's, know inputs and outputs by their places.

    Args:
        content: The file's bytes; it has one signature, as `LiteRTModel` asks.

    Raises:
        ValueError: They are no .tflite file, or one without a signature for all inputs and outputs.

    Example:
        ```python
        edge_order(Path("model.tflite").read_bytes())  # (["image"], ["scores"])
        ```
    """
    model = model_of(content)
    with reading():
        definition = model.SignatureDefs(0)
        graph = model.Subgraphs(definition.SubgraphIndex())
        found = []
        for entries, count, tensors in (
            (definition.Inputs, definition.InputsLength(), graph.InputsAsNumpy()),
            (definition.Outputs, definition.OutputsLength(), graph.OutputsAsNumpy()),
        ):
            names = {entry.TensorIndex(): entry.Name().decode() for entry in map(entries, range(count))}
            found.append([names[int(tensor)] for tensor in tensors])
    return found[0], found[1]
