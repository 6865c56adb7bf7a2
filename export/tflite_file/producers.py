"""What computes the outputs of a .tflite file."""

from __future__ import annotations

from .schema import builtin_of, enum_names, model_of

_PASSED_ON = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "TRANSPOSE", "CAST")


def producers(content: bytes, signature: str | None = None) -> dict[str, str]:
    """The kind of operation that computes each output of a signature, by output name.

    Operations that pass values on in another dtype or shape are looked through.

    Args:
        content: The file's bytes.
        signature: The name of the signature; by default the first one.

    Example:
        ```python
        producers(Path("model.tflite").read_bytes())  # {"scores": "SOFTMAX"}
        ```
    """
    model = model_of(content)
    all_of_them = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
    definition = next(d for d in all_of_them if signature in (None, d.SignatureKey().decode()))
    graph = model.Subgraphs(definition.SubgraphIndex())
    names = enum_names("BuiltinOperator")
    made_by = {}
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        kind = names.get(builtin_of(model.OperatorCodes(operator.OpcodeIndex())), "CUSTOM")
        for i in range(operator.OutputsLength()):
            made_by[operator.Outputs(i)] = (kind, operator.Inputs(0) if operator.InputsLength() else -1)
    found = {}
    for output in map(definition.Outputs, range(definition.OutputsLength())):
        kind, source = made_by.get(output.TensorIndex(), ("", -1))
        while kind in _PASSED_ON and source in made_by:
            kind, source = made_by[source]
        found[output.Name().decode()] = kind
    return found
