"""What the process prints, and that it is the one which is asked."""

import json
import subprocess
import sys

from kerasft.export.toolchains import xnnpack, xnnpack_process
from toolchain_files import exported


def test_it_prints_places_or_a_reason(tmp_path):
    assert xnnpack._MODULE == xnnpack_process.__name__
    report = exported(tmp_path, "float32", "float")
    (tmp_path / "none.tflite").write_bytes(b"no file")

    def printed(path):
        command = [sys.executable, "-m", xnnpack._MODULE, str(path)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert printed(report.path) == [[], sum(report.operations.values())]
    assert printed(tmp_path / "none.tflite").startswith("LiteRT can't run the file")
