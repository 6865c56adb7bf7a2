"""Changes to a finished .tflite file that leave what it computes as it is."""

from __future__ import annotations

import numpy as np

from ..errors import ExportError
from ..parity import Sample
from ..tflite_file import packed, unpacked

_LARGEST = 2**31 - 2**24  # bytes, for what a file of weights inside can't exceed


def inlined(content: bytes) -> bytes:
    """The same file with its weights inside the model.

    The quantizer writes those of 256 KiB and more after it, where older runtimes and tools that rewrite a
    file (for metadata, say) do not look. Above 2 GB there is no other place.
    """
    model = unpacked(content)
    outside = [buffer for buffer in model.buffers if buffer.offset > 1]
    if not outside or len(content) > _LARGEST:
        return content
    for buffer in outside:
        buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    return packed(model)


def unsigned_edges(content: bytes) -> bytes:
    """Let an int8 file with float inputs and outputs take and give uint8 instead.

    Its first and last operations convert between float and int8. With the edge tensors as uint8, of the same
    scale and a zero point 128 higher, they convert between uint8 and int8, to the bit.

    Raises:
        ExportError: An input or output is not converted by such an operation.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(content)
    (graph,) = model.subgraphs
    kinds = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    quantize, dequantize = schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE
    if quantize not in kinds:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = quantize
        code.version = 1
        model.operatorCodes.append(code)
        kinds.append(quantize)
    for edges, kind, (near, far) in (
        (graph.inputs, quantize, ("inputs", "outputs")),
        (graph.outputs, dequantize, ("outputs", "inputs")),
    ):
        for index in edges:
            edge = graph.tensors[index]
            if edge.type != schema.TensorType.FLOAT32:
                continue  # token ids and the like
            operators = [o for o in graph.operators if index in getattr(o, near)]
            if [kinds[o.opcodeIndex] for o in operators] != [kind]:
                raise ExportError(f"{edge.name.decode()!r} can't be uint8: it is not converted to int8 once.")
            (operator,) = operators
            inner = graph.tensors[getattr(operator, far)[0]].quantization
            edge.type = schema.TensorType.UINT8
            edge.quantization = schema.QuantizationParametersT()
            edge.quantization.scale = list(inner.scale)
            edge.quantization.zeroPoint = [int(z) + 128 for z in inner.zeroPoint]
            operator.opcodeIndex = kinds.index(quantize)
            operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.QuantizeOptions, None
            operator.builtinOptions = schema.QuantizeOptionsT()
    return packed(model)


def sized_as(content: bytes, sample: Sample) -> bytes:
    """Let the open axes of a file's inputs begin with the size of a sample.

    The converter makes them 1, at which a convolution or a pooling without padding has no output: LiteRT then
    can't allocate the file before its inputs are resized, as it does by itself.
    """
    model = unpacked(content)
    graph, changed = model.subgraphs[0], False
    for entry in model.signatureDefs[0].inputs:
        tensor, value = graph.tensors[entry.tensorIndex], sample.get(entry.name.decode())
        if value is not None and list(tensor.shape) != list(value.shape):
            tensor.shape, changed = list(value.shape), True
    return packed(model) if changed else content
