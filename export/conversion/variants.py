"""The precisions of a model: float32 by the converter, the others from that file by ai-edge-quantizer."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io as streams
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ExportError
from ..model import Calibration
from ..parity import Sample
from ..tflite_file import custom, in_float, quiet, read_operations
from .flatbuffer import inlined, sized_as, unsigned_edges
from .process import converter_process

PRECISIONS = ("float32", "float16", "dynamic", "weight_only", "int8")
IO = ("float", "int8", "uint8")
CONVERTER, QUANTIZER = "converter", "ai-edge-quantizer"


class Variants:
    """Files of a model at several precisions, of which the float one is converted once.

    Args:
        saved_model: The model as a SavedModel, for the converter.
        calibration: Samples for int8, or None.
        sample: An input whose size becomes the files' own, where the model leaves it open; see `sized_as`.
        strict: Refuse int8 files in which something computes in float.
    """

    def __init__(
        self,
        saved_model: Path,
        calibration: Calibration | None,
        sample: Sample | None = None,
        *,
        strict: bool = True,
    ) -> None:
        self._saved_model, self._calibration, self._strict = saved_model, calibration, strict
        self._sample = sample or {}
        self._float: bytes | None = None
        self._ranges: Any = None

    @property
    def float32(self) -> bytes:
        """The float file."""
        if self._float is None:
            self._float = self._converted("float32", "float")
        return self._float

    def make(self, precision: str, io: str = "float") -> tuple[bytes, str]:
        """Make the file of a precision.

        Args:
            precision: One of PRECISIONS.
            io: What an int8 file takes and gives: "float", "int8" or "uint8".

        Returns:
            The file's bytes, and what made them.

        Raises:
            ExportError: It can't be made, or something in it is neither built in nor, for int8, an integer.
        """
        if precision == "float32":
            content, maker = self.float32, CONVERTER
        elif not has_quantizer():
            if precision == "weight_only":
                raise ExportError(
                    "weight_only is made by ai-edge-quantizer, which is not installed: "
                    'pip install "kerasft[quantize]".'
                )
            content, maker = self._converted(precision, io), CONVERTER
        else:
            content, maker = self._quantized(precision, io), QUANTIZER
            if precision == "int8" and in_float(read_operations(content)):
                # the converter has integer kernels for some operations that the quantizer leaves alone
                with contextlib.suppress(ExportError):
                    content, maker = self._converted(precision, io), CONVERTER
        self._check_operations(content, precision)
        return content, maker

    def _check_operations(self, content: bytes, precision: str) -> None:
        operations = read_operations(content)
        if foreign := custom(operations):
            raise ExportError(f"The file needs operations that are not built in: {foreign}.")
        if precision == "int8" and self._strict and (left := in_float(operations)):
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            raise ExportError(
                f"{len(left)} operations of the int8 file would compute in float: {', '.join(left[:5])}"
                f"{more}. An integer-only device refuses them. Replace these layers, or export precision="
                '"weight_only", which is float by design, or pass strict=False.'
            )

    def _converted(self, precision: str, io: str) -> bytes:
        samples = self._calibration.samples if self._calibration else ()
        return sized_as(converter_process().convert(self._saved_model, precision, io, samples), self._sample)

    def _calibrated(self, recipe: Any) -> Any:
        """The least and the greatest value of each tensor on the calibration samples.

        The quantizer's own `calibrate` takes moving averages of them instead, which depend on the order of
        the samples and cut off what is rare.
        """
        from ai_edge_quantizer import calibrator, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils

        assert self._calibration is not None, "int8 comes with representative data"
        manager = recipe_manager.RecipeManager()
        manager.load_quantization_recipe(recipe)
        ranges = calibrator.Calibrator(
            self.float32, num_threads=2, mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            qsv_update_func=qsv_utils.min_max_update,
        )  # fmt: skip
        ranges.calibrate({"serving_default": self._calibration.samples}, manager)
        return ranges.get_model_qsvs()

    def _quantized(self, precision: str, io: str) -> bytes:
        from ai_edge_quantizer import quantizer, recipe

        recipes = {
            "float16": [_FLOAT16],
            "dynamic": recipe.dynamic_wi8_afp32(),
            "weight_only": recipe.weight_only_wi8_afp32(),
            "int8": recipe.static_wi8_ai8(),
        }
        with _silent():
            maker = quantizer.Quantizer(bytearray(self.float32), recipes[precision])
            if precision == "int8":
                if io != "int8":
                    for edge in ("INPUT", "OUTPUT"):
                        maker.update_quantization_recipe(".*", edge, None, "no_quantize")
                self._ranges = self._ranges or self._calibrated(maker.get_quantization_recipe())
            ranges = self._ranges if precision == "int8" else None
            made = maker.quantize(ranges, enable_progress_report=False).quantized_model
        assert made is not None
        content = inlined(bytes(made))
        return unsigned_edges(content) if io == "uint8" else content


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


def has_quantizer() -> bool:
    """Whether ai-edge-quantizer is installed."""
    try:
        importlib.metadata.version("ai-edge-quantizer")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what the quantizer prints off the terminal."""
    with (
        quiet(),
        contextlib.redirect_stdout(streams.StringIO()) as unread,
        contextlib.redirect_stderr(unread),
    ):
        yield
