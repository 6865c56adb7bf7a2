"""Operations that an Edge TPU, the GPU delegate and XNNPACK would refuse in a .tflite file, one by one.

A report of known refusals, not a promise: nothing here has run on a device. The rules come from

- Edge TPU: https://coral.ai/docs/edgetpu/models-intro/, its requirements and its table for the newest runtime
- GPU: https://ai.google.dev/edge/litert/performance/gpu and, as the delegate takes more than that page lists,
  its own check, tflite/tools/versioning/gpu_compatibility.cc and tflite/delegates/gpu/common/model_builder.cc
  in https://github.com/google-ai-edge/LiteRT, with quantized models allowed, the default on Android
- XNNPACK: tflite/delegates/xnnpack/README.md there and, where the code is ahead of it (GELU, SUM, any axes of
  MEAN, int8 weights beside float), xnnpack_delegate.cc; tests hold this against LiteRT itself

They look at names, dtypes, shapes, and what is constant. `census` reads no more, so these are *not* checked:

- options: fused activations (Edge TPU: none at pooling and CONCATENATION; XNNPACK: no tanh), strides (in
  XNNPACK, of pooling no longer than its window), dilations, softmax's beta, masks of slices, versions
- values: axes (Edge TPU: never the batch, depth only in multiples of 4), strides of STRIDED_SLICE (1 on Edge
  TPU and XNNPACK), a concatenated constant (Edge TPU: zeros), scales (XNNPACK limits their ratios)
- sizes: what fits an Edge TPU's memory; RESHAPE, MEAN, RESIZE_* that it leaves out for large tensors
- on the GPU, what a comparison feeds, shapes of SELECT and ONE_HOT, tensors sized while running, the device

Two things count as refused that XNNPACK takes at times: variables, and products of two computed int8 tensors
(if the second's zero point is 0). An open batch counts as one sample; bodies of loops count with the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from ..tables import html_table, plain_table
from .operations import FLOATS, Operand, Operation, read_operations
from .schema import reading

# For operations of these names, what their inputs and outputs must not be, and the reason that it gives.
Limits = tuple[tuple[str, Callable[[tuple[Operand, ...], tuple[Operand, ...]], bool], str], ...]

READ = "read in a document"
_DOCUMENTS = {  # all read in November 2026
    "edgetpu": "Coral's model requirements",
    "gpu": "LiteRT's GPU page and code",
    "xnnpack": "LiteRT's XNNPACK page, code",
}

_UNKNOWN = "it has no such operation"
_EDGE = "converts from or to float, which stays on the CPU"
_EIGHT_BIT = frozenset({"int8", "uint8"})

# Where the data stand among operands that are otherwise parameters: constant on the Edge TPU and in XNNPACK.
_DATA = {"SPLIT": 1, "TRANSPOSE_CONV": 2} | dict.fromkeys(
    """CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED MEAN PAD PRELU REDUCE_MAX REDUCE_MIN RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE STRIDED_SLICE SUM TRANSPOSE""".split(),
    0,
)

_EDGETPU = frozenset(
    """ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED LOGISTIC MEAN
    L2_NORMALIZATION MAXIMUM MAX_POOL_2D MINIMUM MUL PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6
    RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SUB
    SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUM TANH TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM
    """.split()
)
_EDGETPU_LIMITS: Limits = (
    ("CONCATENATION", lambda i, o: len(i) > 2 and any(t.constant for t in i), "joins a constant with two"),
    ("FULLY_CONNECTED SOFTMAX", lambda i, o: _outer(o[0], 1) > 1, "has an output of several rows"),
    ("PRELU", lambda i, o: _outer(i[1], 1) > 1, "has slopes along more than the last axis"),
    ("SOFTMAX", lambda i, o: o[0].shape[-1] > 16000, "has more than 16000 elements"),
    ("SQUEEZE", lambda i, o: o[0].shape != i[0].shape[-len(o[0].shape) :], "drops an inner axis"),
    ("STRIDED_SLICE", lambda i, o: len(o[0].shape) > len(i[0].shape), "adds an axis"),
)

_GPU = frozenset(
    """ABS ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D COS CUMSUM DENSIFY DEPTH_TO_SPACE
    DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU
    GREATER GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGISTIC LSTM MAXIMUM MEAN
    MAX_POOL_2D MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE REDUCE_MAX
    REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RSQRT SELECT SELECT_V2
    RESIZE_NEAREST_NEIGHBOR SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE
    STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV UNPACK Convolution2DTransposeBias
    MaxPoolingWithArgmax2D MaxUnpooling2D Resampler""".split()
)
_GPU_DTYPES = (  # of computed tensors, besides floats and 8-bit integers
    ("bool", "CAST EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND NOT_EQUAL SELECT SELECT_V2"),
    ("int32", "CAST GATHER ONE_HOT"),
)
_GPU_LIMITS: Limits = (
    ("ADD MUL", lambda i, o: not _broadcast(i[0].shape, i[1].shape), "broadcasts in a way it doesn't know"),
    ("ADD_N", lambda i, o: len(i) != 2, "adds other than two tensors"),
    ("BATCH_MATMUL", lambda i, o: i[1].constant and len(i[1].shape) != 2, "has many constant matrices"),
    ("GATHER", lambda i, o: len(i[1].shape) != 1 or i[1].dtype != "int32", "indices are no row of int32"),
    ("PAD PADV2 MIRROR_PAD", lambda i, o: len(i[0].shape) not in (3, 4), "pads other than 3 or 4 axes"),
    ("SLICE STRIDED_SLICE", lambda i, o: len(i[0].shape) not in (3, 4), "slices other than 3 or 4 axes"),
    ("STRIDED_SLICE", lambda i, o: len(i[0].shape) != len(o[0].shape), "adds or drops an axis"),
)

_XNNPACK_FLOAT = frozenset(  # what it computes in float alone
    """ABS AVERAGE_POOL_2D CEIL COS DIV EXP FLOOR GELU HARD_SWISH LOG MAXIMUM MINIMUM NEG PRELU RELU RELU6
    RELU_N1_TO_1 ROUND RSQRT SIN SOFTMAX SQRT SQUARE SQUARED_DIFFERENCE Convolution2DTransposeBias
    MaxPoolingWithArgmax2D MaxUnpooling2D""".split()
)
_XNNPACK = _XNNPACK_FLOAT | frozenset(
    """ADD BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE ELU FULLY_CONNECTED
    LEAKY_RELU LOGISTIC MAX_POOL_2D MEAN MUL PAD QUANTIZE REDUCE_MAX REDUCE_MIN RESHAPE RESIZE_BILINEAR SLICE
    SPACE_TO_DEPTH SPLIT STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV""".split()
)
# Dtypes that the second operand may have, besides that of the data.
_XNNPACK_WEIGHTS = dict.fromkeys(["BATCH_MATMUL", "CONV_2D", "TRANSPOSE_CONV"], frozenset({"int8"}))
_XNNPACK_WEIGHTS |= {"DEPTHWISE_CONV_2D": frozenset(), "FULLY_CONNECTED": frozenset({"int8", "int4", "int2"})}
_XNNPACK_LIMITS: Limits = (
    ("BATCH_MATMUL", lambda i, o: not (i[0].dtype in FLOATS or i[1].constant), "multiplies two integers"),
    ("CONCATENATION", lambda i, o: not 2 <= len(i) <= 5, "joins other than 2 to 5 tensors"),
    ("CONV_2D DEPTHWISE_CONV_2D", lambda i, o: len(i) < 3, "has no bias"),
    ("SPLIT", lambda i, o: not 2 <= len(o) <= 4, "splits into other than 2 to 4 tensors"),
    ("STRIDED_SLICE", lambda i, o: len(i[0].shape) != len(o[0].shape), "adds or drops an axis"),
)


@dataclass(frozen=True)
class Refusal:
    """An operation that a target leaves to the CPU's plain kernels.

    Attributes:
        target: "edgetpu", "gpu", "xnnpack", "micro" or an NPU, such as "ethos-u55-128".
        operation: Its name, such as "SOFTMAX".
        tensor: Name of the first tensor that it writes.
        reason: Why the target refuses it.
        position: Its place in the order in which the file runs, from 0.
    """

    target: str
    operation: str
    tensor: str
    reason: str
    position: int


@dataclass(frozen=True)
class Evidence:
    """Where it is known from what a target refuses.

    Attributes:
        kind: "run", "compiled" or "read in a document".
        source: What ran or compiled the file, with its version, or the documents.
    """

    kind: str
    source: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.source}"


@dataclass(frozen=True)
class Readiness:
    """The operations that each target would refuse in a file; as text, a table.

    Attributes:
        operations: How many operations the file has.
        refusals: What is refused, by target, in the order in which the file runs.
        evidence: Where that is known from, by target.
    """

    HEADER: ClassVar[tuple[str, ...]] = ("target", "accepted", "pieces", "evidence", "refused")

    operations: int
    refusals: dict[str, tuple[Refusal, ...]]
    evidence: dict[str, Evidence]

    def share(self, target: str) -> float:
        """Share of the operations that a target takes; 1 for a file without operations."""
        return 1 - len(self.refusals[target]) / self.operations if self.operations else 1.0

    def pieces(self, target: str) -> int:
        """Into how many runs of operations a target's part falls, with refused ones between them.

        TFLite joins independent runs, so a delegate may see fewer. By default the GPU delegate takes only the
        largest, and the Edge TPU's compiler only the first (`mapped`).
        """
        refused = {-1} | {r.position for r in self.refusals[target]}
        return sum(i not in refused and i - 1 in refused for i in range(self.operations))

    @property
    def mapped(self) -> int:
        """How many operations the Edge TPU's compiler would map: those up to the first that it refuses.

        It divides a graph once; what follows stays on the CPU. Converting float inputs doesn't end the piece.
        """
        refused = self.refusals["edgetpu"]
        ends = [r.position for r in refused if (r.operation, r.reason) != ("QUANTIZE", _EDGE)]
        end = min(ends, default=self.operations)
        return end - sum(r.position < end for r in refused)

    def rows(self) -> list[tuple[str, str, str, str, list[str]]]:
        """For each target its name, what it accepts, in how many pieces, evidence, and lines of refusals."""
        found = []
        for target, refusals in self.refusals.items():
            lines = []
            for reason, n in Counter(r.reason for r in refusals).most_common():
                names = dict.fromkeys(r.operation for r in refusals if r.reason == reason)
                lines.append(f"{n} × {reason}: {', '.join(names)}")
            if target == "edgetpu" and self.pieces(target) > 1:
                lines.append(f"its compiler maps the first piece alone, {self.mapped} of {self.operations}")
            taken, percent = self.operations - len(refusals), int(100 * self.share(target) + 1e-9)
            count = f"{taken} of {self.operations} ({percent} %)"
            found.append((target, count, str(self.pieces(target)), str(self.evidence[target]), lines))
        return found

    def _lines(self) -> list[tuple[str, ...]]:
        """The rows, each line of refusals in one of its own."""
        found: list[tuple[str, ...]] = []
        for *row, lines in self.rows():
            found.append((*row, lines[0] if lines else "–"))
            found += [("", "", "", "", line) for line in lines[1:]]
        return found

    def __str__(self) -> str:
        return plain_table(self.HEADER, self._lines())

    def _repr_html_(self) -> str:
        return html_table(self.HEADER, self._lines())


def documented(content: bytes) -> Readiness:
    """What an Edge TPU, the GPU delegate and XNNPACK would refuse in a .tflite file, by their documents.

    The head of this module says where the rules come from and what they leave out.

    Args:
        content: The file's bytes.

    Raises:
        ValueError: They are no .tflite file.
    """
    ops = read_operations(content)
    with reading():  # an operation may lack the operands that it needs
        verdicts = {"edgetpu": [*map(_edgetpu, ops)], "gpu": [*map(_gpu, ops)], "xnnpack": _xnnpack_all(ops)}
    refusals = {
        target: tuple(
            Refusal(target, o.name, o.outputs[0].name if o.outputs else "", reason, i)
            for i, (o, reason) in enumerate(zip(ops, reasons, strict=True))
            if reason
        )
        for target, reasons in verdicts.items()
    }
    return Readiness(len(ops), refusals, {name: Evidence(READ, said) for name, said in _DOCUMENTS.items()})


def _edgetpu(op: Operation) -> str | None:
    tensors = op.inputs + op.outputs
    if op.name.endswith("QUANTIZE") and any(t.dtype in FLOATS for t in tensors):
        return _EDGE
    if op.name not in _EDGETPU:
        return _UNKNOWN
    for tensor in tensors:
        if tensor.dtype not in _EIGHT_BIT | ({"int32", "int64"} if tensor.constant else set()):
            return f"has {tensor.dtype} tensors, not 8-bit integers"
        if -1 in tensor.shape[1:]:
            return "has a size that is not fixed"
        if not tensor.constant and _outer(tensor, 3) > 1:
            return "has more than three axes longer than 1"
    return _computed_parameter(op) or _limit(op, _EDGETPU_LIMITS)


def _gpu(op: Operation) -> str | None:
    if op.name not in _GPU:
        return _UNKNOWN
    tensors = op.inputs + op.outputs
    if any(len(t.shape) > 4 for t in tensors):
        return "has a tensor of more than four axes"
    allowed = {"float32", "float16", *_EIGHT_BIT} | {
        d for d, names in _GPU_DTYPES if op.name in names.split()
    }
    if strange := {t.dtype for t in tensors if not t.constant} - allowed:
        return f"has computed {min(strange)} tensors"
    return _limit(op, _GPU_LIMITS)


def _xnnpack_all(operations: tuple[Operation, ...]) -> list[str | None]:
    # XNNPACK unpacks constants (DEQUANTIZE of weights) while loading, if all that read them are its own
    unpacked = {
        o.outputs[0].name: i
        for i, o in enumerate(operations)
        if o.name == "DEQUANTIZE" and o.inputs[0].constant and o.inputs[0].dtype in ("float16", "int8")
    }
    reasons = [None if i in unpacked.values() else _xnnpack(o, {*unpacked}) for i, o in enumerate(operations)]
    for o in [o for o, reason in zip(operations, reasons, strict=True) if reason]:
        for name in unpacked.keys() & {t.name for t in o.inputs}:
            reasons[unpacked[name]] = "unpacks constants for an operation that is refused"
    return reasons


def _xnnpack(op: Operation, unpacked: set[str]) -> str | None:
    if op.name not in _XNNPACK:
        return _UNKNOWN
    weights = {t.dtype for t in op.inputs[1:2]} if op.name in _XNNPACK_WEIGHTS else set()
    data = [t for i, t in enumerate(op.inputs) if i == _DATA.get(op.name, i) and not (weights and i == 1)]
    dtypes = {t.dtype for t in (*data, *op.outputs)}
    if strange := dtypes - FLOATS - _EIGHT_BIT:
        return f"has {min(strange)} tensors"
    if dtypes & _EIGHT_BIT and op.name in _XNNPACK_FLOAT:
        return "it computes this in float only"
    if op.name.endswith("QUANTIZE"):
        mixed = len(dtypes - FLOATS) != 1
    else:
        mixed = not dtypes | weights <= {data[0].dtype} | _XNNPACK_WEIGHTS.get(op.name, frozenset())
    if mixed:
        return f"mixes {' and '.join(sorted(dtypes | weights))}"
    if any(len(t.shape) > 6 for t in (*data, *op.outputs)):
        return "has a tensor of more than six axes"
    return _computed_parameter(op, unpacked) or _limit(op, _XNNPACK_LIMITS)


def _computed_parameter(op: Operation, unpacked: Set[str] = frozenset()) -> str | None:
    for i, tensor in enumerate(op.inputs):
        if i != _DATA.get(op.name, i) and not (tensor.constant or tensor.name in unpacked):
            return f"computes its operand {i}, which should be constant"
    return None


def _limit(op: Operation, limits: Limits) -> str | None:
    return next((w for n, test, w in limits if op.name in n.split() and test(op.inputs, op.outputs)), None)


def _outer(tensor: Operand, inner: int) -> int:
    return prod(abs(n) for n in tensor.shape[:-inner])  # an open batch counts as 1


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    short, long = sorted((a, b), key=len)
    if len(short) < 2 or len(short) == len(long):
        return True
    whole = len(short) == 3 or short == (1, 1)
    return len(long) == 4 and (abs(long[0]) == 1 if whole else short == (long[0], long[3]))
