"""The process in which LiteRT runs a file from anywhere: `python -m …toolchains.xnnpack_process FILE`.

It prints JSON: the places of the operations that XNNPACK leaves and how many the file has, or why LiteRT
can't run it.
"""

from __future__ import annotations

import json
import sys

from ..errors import ExportError
from ..tflite_file import left_by_xnnpack

if __name__ == "__main__":
    try:
        print(json.dumps(left_by_xnnpack(sys.argv[1])))
    except ExportError as error:
        print(json.dumps(str(error)))
