"""A finished .tflite file: its contents, its results, and the operations that accelerators would refuse.

Everything here reads a finished file and knows nothing of Keras or TensorFlow, so that a file can be looked
at where only LiteRT is installed. `litert` is the one place in export that uses private names of LiteRT.

Inside, `delegates` and `sensitivity` stand on `operations`, `operations` and `edges` on `schema`, and
`sensitivity` on `litert` as well.
"""

from .delegates import Evidence, Readiness, Refusal, documented
from .edges import edge_order
from .litert import LiteRTModel, left_by_xnnpack, quantized, quiet, tensor_infos
from .operations import Operation, census, custom, in_float, read_operations
from .producers import producers
from .schema import builtin_of, dtype_of, model_of, packed, reading, shape_of, unpacked
from .sensitivity import losses

__all__ = [
    "Evidence",
    "LiteRTModel",
    "Operation",
    "Readiness",
    "Refusal",
    "builtin_of",
    "census",
    "custom",
    "documented",
    "dtype_of",
    "edge_order",
    "in_float",
    "left_by_xnnpack",
    "losses",
    "model_of",
    "packed",
    "producers",
    "quantized",
    "quiet",
    "read_operations",
    "reading",
    "shape_of",
    "tensor_infos",
    "unpacked",
]
