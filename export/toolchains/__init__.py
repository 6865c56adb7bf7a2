"""The real toolchains of small devices: TFLite Micro's interpreter, and Arm's compiler for Ethos-U NPUs.

What a document says about a device is a guess; here the file runs in the interpreter of microcontrollers, or
goes through the compiler of the NPU, in processes of their own. Each of the two is an extra; without it, the
message names the extra. LiteRT with XNNPACK is here as well, apart, for files from anywhere.

Inside, `c_array` stands on `micro`, and `micro` on `micro_interpreter`; `micro_process` and `xnnpack_process`
are what the processes of `micro_interpreter` and `xnnpack` run.
"""

from .c_array import c_array_paths, to_c_array
from .ethos_u import ACCELERATORS, EthosUBuild, built_from, check_ethos_u, compile_for_ethos_u
from .micro import MicroRun, run_on_micro
from .micro_interpreter import check_micro, micro_refusals
from .xnnpack import xnnpack_leaves

__all__ = [
    "ACCELERATORS",
    "EthosUBuild",
    "MicroRun",
    "built_from",
    "c_array_paths",
    "check_ethos_u",
    "check_micro",
    "compile_for_ethos_u",
    "micro_refusals",
    "run_on_micro",
    "to_c_array",
    "xnnpack_leaves",
]
