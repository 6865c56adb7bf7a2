"""A model's way to the bytes of a .tflite file, at every precision.

TFLite's converter runs in a process of its own, so that a crash takes nothing else with it; the process is
started while the model is still being checked, and kept for the next export. It makes the float file. The
other precisions are made from that file by litert-quantizer, or by the converter where the quantizer is
missing or leaves operations in float.

Inside, `variants` stands on `process` and `quantizer`; `converter` is the script that the process runs.
`merged` makes one file of two.
"""

from .merged import merged
from .process import converter_process, saved
from .variants import CONVERTER, Variants

__all__ = ["CONVERTER", "Variants", "converter_process", "merged", "saved"]
