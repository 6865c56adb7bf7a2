"""The real toolchains of small devices: TFLite Micro's interpreter, and Arm's compiler for Ethos-U NPUs.

What a document says about a device is a guess; here the file runs in the interpreter of microcontrollers, or
goes through the compiler of the NPU, in processes of their own. Each toolchain is an extra; without it, the
message names the extra.

Inside, `c_array` stands on `micro`, and `micro_process` is the script that the process of `micro` runs.
"""

from .c_array import c_array_paths, to_c_array
from .ethos_u import ACCELERATORS, EthosUBuild, check_ethos_u, compile_for_ethos_u
from .micro import MicroRun, check_micro, run_on_micro

__all__ = [
    "ACCELERATORS",
    "EthosUBuild",
    "MicroRun",
    "c_array_paths",
    "check_ethos_u",
    "check_micro",
    "compile_for_ethos_u",
    "run_on_micro",
    "to_c_array",
]
