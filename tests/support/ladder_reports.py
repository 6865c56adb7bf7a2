"""Reports on six precisions of a model, with numbers to choose by."""

from kerasft.export.parity import Parity
from kerasft.export.report import Quality, Report, Speed


def report(name, size, ms, drop):
    return Report(
        path=f"{name}.tflite", precision=name, io="int8" if name == "int8_io" else "float",
        made_by="converter", size_bytes=size, sha256="", inputs=(), outputs=(), operations={}, dtypes={},
        labels=None, input_range=None, normalization=None, preprocessing="none", metadata=False,
        parity=Parity(0.0, 0.0, 0.0, 1), quality=Quality(100, 1.0, 0.9, 0.9 - drop, drop, (0.0, 0.0)),
        speed=Speed({"1": ms, "2": ms}, 1, 0), versions={},
    )  # fmt: skip


REPORTS = {
    name: report(name, *numbers)
    for name, numbers in {
        "float32": (1000, 10.0, 0.0),
        "float16": (500, 10.0, 0.0),
        "weight_only": (260, 10.0, 0.005),
        "dynamic": (255, 15.0, 0.008),
        "int8": (240, 4.0, 0.03),
        "int8_io": (235, 3.0, 0.03),
    }.items()
}
