"""A .tflite file as it is: what it holds, what it computes, and what accelerators would refuse in it.

Everything here reads a finished file and knows nothing of Keras or TensorFlow, so that a file can be looked
at where only LiteRT is installed. `litert` is the one place in export that uses private names of LiteRT.

Inside, `delegates` and `sensitivity` stand on `operations`, and `sensitivity` on `litert` as well.
"""

from .delegates import Readiness, Refusal, readiness
from .litert import LiteRTModel, quiet
from .operations import census, custom, in_float, read_operations
from .sensitivity import losses

__all__ = [
    "LiteRTModel",
    "Readiness",
    "Refusal",
    "census",
    "custom",
    "in_float",
    "losses",
    "quiet",
    "read_operations",
    "readiness",
]
