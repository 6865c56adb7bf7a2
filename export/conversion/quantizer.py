"""The package that makes the smaller precisions of a float file, under either of its names.

`litert-quantizer` 0.11 is what `ai-edge-quantizer` 0.10 was, of the same authors and with the same functions;
package and import name are new. Where both are installed, the new one is used.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io as streams
from collections.abc import Iterator, Sequence
from typing import Any

from ..parity import Sample
from ..tflite_file import quiet

_IMPORTED_AS = {"litert-quantizer": "litert_quantizer", "ai-edge-quantizer": "ai_edge_quantizer"}
QUANTIZERS = tuple(_IMPORTED_AS)
"""Names of the package, as it is installed, the newest first."""

_FLOAT16: dict[str, Any] = {
    "regex": ".*",
    "operation": "*",
    "algorithm_key": "float_casting",
    "op_config": {
        "weight_tensor_config": {
            "num_bits": 16, "symmetric": True, "granularity": "TENSORWISE", "dtype": "FLOAT",
        },
        "compute_precision": "FLOAT", "explicit_dequantize": True, "skip_checks": False,
        "min_weight_elements": 0,
    },
}  # fmt: skip


def installed_quantizer() -> str | None:
    """The name of the quantizer that is installed, one of QUANTIZERS; None if there is none."""
    for name in QUANTIZERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)
            return name
    return None


def quantized(content: bytes, precision: str, io: str, name: str, ranges: Any = None) -> bytes:
    """The file of a precision.

    Args:
        content: The float file.
        precision: float16, dynamic, weight_only or int8.
        io: What an int8 file takes and gives: "int8", or floats with anything else.
        name: The quantizer, one of QUANTIZERS.
        ranges: For int8, what `measured_ranges` has found.

    Returns:
        The file's bytes, its larger weights after the model.
    """
    quantizer, recipe = _module(name, "quantizer"), _module(name, "recipe")
    with _silent():
        maker = quantizer.Quantizer(bytearray(content), _recipe(recipe, precision))
        if precision == "int8" and io != "int8":
            for edge in ("INPUT", "OUTPUT"):
                maker.update_quantization_recipe(".*", edge, None, "no_quantize")
        made = maker.quantize(ranges, enable_progress_report=False).quantized_model
    assert made is not None
    return bytes(made)


def measured_ranges(content: bytes, samples: Sequence[Sample], name: str) -> Any:
    """The least and the greatest value of each tensor of a float file on samples, for int8.

    The quantizer's own `calibrate` takes moving averages of them instead, which depend on the order of the
    samples and cut off what is rare.
    """
    calibrator, manager = _module(name, "calibrator"), _module(name, "recipe_manager").RecipeManager()
    manager.load_quantization_recipe(_recipe(_module(name, "recipe"), "int8"))
    with _silent():
        found = calibrator.Calibrator(
            content, num_threads=2, mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            qsv_update_func=_module(name, "utils.qsv_utils").min_max_update,
        )  # fmt: skip
        found.calibrate({"serving_default": samples}, manager)
        return found.get_model_qsvs()


def _module(name: str, part: str) -> Any:
    return importlib.import_module(f"{_IMPORTED_AS[name]}.{part}")


def _recipe(recipes: Any, precision: str) -> Any:
    if precision == "float16":
        return [_FLOAT16]
    return {
        "dynamic": recipes.dynamic_wi8_afp32,
        "weight_only": recipes.weight_only_wi8_afp32,
        "int8": recipes.static_wi8_ai8,
    }[precision]()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what the quantizer prints off the terminal."""
    with (
        quiet(),
        contextlib.redirect_stdout(streams.StringIO()) as unread,
        contextlib.redirect_stderr(unread),
    ):
        yield
