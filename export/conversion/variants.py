"""The precisions of a model: float32 by the converter, the others from that file by the quantizer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from ..errors import ExportError
from ..model import Calibration, input_names, located, plain, serving_of
from ..parity import Sample
from ..tflite_file import LiteRTModel, custom, in_float, read_operations
from .flatbuffer import inlined, sized_as, unsigned_edges
from .process import converter_process, saved
from .quantizer import QUANTIZERS, installed_quantizer, measured_ranges, quantized
from .unrolled import unrolled

CONVERTER = "converter"
_LOOP = "tensor_name_to_qsv"
# What errors of the quantizer mean, by a part of them.
_IN_WORDS = {
    "Ranks of scales": "It can't quantize a weight that is joined with values, such as a class token",
    _LOOP: "It has no ranges for what a loop computes, such as that of a recurrent layer",
}


class Variants:
    """Files of a model at several precisions, of which the float one is converted once.

    Args:
        saved_model: The model as a SavedModel, for the converter.
        calibration: Samples for int8, or None.
        sample: An input whose size becomes the files' own, where the model leaves it open; see `sized_as`.
        strict: Refuse int8 files in which something computes in float.
        model: What the SavedModel was made of, whose layers messages name.
    """

    def __init__(
        self,
        saved_model: Path,
        calibration: Calibration | None,
        sample: Sample | None = None,
        *,
        strict: bool = True,
        model: keras.Model | None = None,
    ) -> None:
        self._saved_model, self._calibration, self._strict = saved_model, calibration, strict
        self._sample, self._model = sample or {}, model
        self._float: bytes | None = None
        self._ranges: Any = None
        self._unrolls: str | None = None
        self._refused: str | None = None

    @property
    def float32(self) -> bytes:
        """The float file.

        Raises:
            ExportError: It can't be made; the error is the same each time.
        """
        if self._refused is not None:
            raise ExportError(self._refused)
        if self._float is None:
            try:
                self._float = self._converted("float32", "float")
            except ExportError as error:
                self._refused = f"{error}{self._fixing()}"
                raise ExportError(self._refused) from error
        return self._float

    def _fixing(self) -> str:
        """What fixing the sizes of open axes, as the sample has them, would help, found by trying."""
        model, sizes = self._model, {k: v.shape[1:] for k, v in self._sample.items()}
        open_axes = model is not None and any(None in tuple(t.shape)[1:] for t in model.inputs)
        if model is None or not open_axes or set(sizes) != set(input_names(model)):
            return ""
        try:
            with saved(model, 1, serving_of(model, 1, sizes)) as folder:
                Variants(folder, None, self._sample, model=None).make("float32")
        except ExportError:
            return ""
        shapes = ", ".join(f"{name!r}: {list(size)}" for name, size in sizes.items())
        return (
            f" With the sizes of the data it can be converted: fix those of the inputs to {shapes}, by "
            "inputs = keras.Input(…) and keras.Model(inputs, model(inputs))."
        )

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
        elif (quantizer := installed_quantizer()) is None:
            if precision == "weight_only":
                raise ExportError(
                    f"weight_only is made by {QUANTIZERS[0]}, which is not installed: "
                    'pip install "kerasft[quantize]".'
                )
            content, maker = self._converted(precision, io), CONVERTER
        else:
            content, maker = self._quantized_or_converted(precision, io, quantizer)
        self._check_operations(content, precision)
        return content, maker

    def _quantized_or_converted(self, precision: str, io: str, quantizer: str) -> tuple[bytes, str]:
        """A file by the quantizer, or by the converter where it does better."""
        failed: Exception | None = None
        content = b""
        try:
            content = self._quantized(precision, io)
            if precision != "int8" or not in_float(read_operations(content)):
                self._run(content)
                return content, quantizer
        except (MemoryError, OSError):
            raise
        except Exception as error:  # the quantizer raises what its runtime and its parts raise
            failed = error
            if precision == "weight_only":
                raise self._refusal(precision, error, content) from error
        # the converter has integer kernels for some operations that the quantizer leaves alone
        try:
            made = self._converted(precision, io)
            left = precision == "int8" and self._strict and in_float(read_operations(made))
            if failed is not None and not left:  # what is left in float is refused by name, whether it runs
                self._run(made)
                if precision == "dynamic" and not any(
                    t.dtype == "int8" for o in read_operations(made) for t in o.inputs
                ):
                    raise ExportError("It leaves all weights in float, as it does with small ones.")
            return made, CONVERTER
        except (MemoryError, OSError):
            raise
        except Exception as error:
            if failed is not None:
                raise self._refusal(precision, failed, content, error) from failed
        return content, quantizer

    def _refusal(
        self, precision: str, error: Exception, content: bytes, other: Exception | None = None
    ) -> ExportError:
        where = located(self._model, str(error), content or self.float32)
        loop = self._unrolling(["WHILE (a loop)"]) if _LOOP in str(error) else ""
        known = next((f"{words}{loop}. " for sign, words in _IN_WORDS.items() if sign in str(error)), "")
        what = "can't make" if not content else "makes, but LiteRT can't run,"
        more = f"TFLite's converter was tried, too: {plain(str(other), 200)} " if other is not None else ""
        return ExportError(
            f"{installed_quantizer()} {what} {precision} of the model{where}. {known}{type(error).__name__}: "
            f"{plain(str(error), 200 if known else 400)} {more}{self._advice(precision)}"
        )

    def _check_operations(self, content: bytes, precision: str) -> None:
        operations = read_operations(content)
        if foreign := custom(operations):
            raise ExportError(f"The file needs operations that are not built in: {foreign}.")
        if precision == "int8" and self._strict and (left := in_float(operations)):
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            raise ExportError(
                f"{len(left)} operations of the int8 file would compute in float: {', '.join(left[:5])}"
                f"{more}{located(self._model, ' '.join(left))}. An integer-only device refuses them. Replace "
                f"these layers{self._unrolling(left)}. {self._advice(precision)} Or allow it by strict=False."
            )

    def _advice(self, precision: str) -> str:
        """The other precisions that LiteRT runs, found by trying."""
        works = [
            p for p in ("weight_only", "dynamic", "float16", "float32") if p != precision and self._runs(p)
        ]
        if not works:
            return "No other precision runs either."
        return f"Of this model, {', '.join(works)} can be exported: they ran on a sample."

    def _runs(self, precision: str) -> bool:
        """Whether LiteRT takes the file of a precision, and computes something from a sample."""
        try:
            self._run(self.float32 if precision == "float32" else self._quantized(precision, "float"))
        except Exception:  # whatever the quantizer or the runtime raises: it does not work
            return False
        return True

    def _run(self, content: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=self._saved_model.parent) as folder:
            path = Path(folder) / "tried.tflite"
            path.write_bytes(content)
            artifact = LiteRTModel(str(path))
            if self._sample:
                artifact(self._sample)
            del artifact

    def _unrolling(self, left: Sequence[str]) -> str:
        """What became of the loops in the file when the recurrent layers were unrolled, found by trying."""
        if self._model is None or not any(name.startswith("WHILE ") for name in left):
            return ""
        if self._unrolls is None:
            self._unrolls = self._unrolled()
        return f" ({self._unrolls})"

    def _unrolled(self) -> str:
        assert self._model is not None and self._calibration is not None
        copy = unrolled(self._model)
        if copy is None:
            return (
                "unroll=True in recurrent layers of a fixed number of steps leaves no loop; it was not tried"
            )
        names = dict(zip(input_names(self._model), input_names(copy), strict=True))
        samples = [{names[k]: v for k, v in sample.items()} for sample in self._calibration.samples]
        try:
            with saved(copy, 1) as folder:
                there = Variants(folder, Calibration(tuple(samples)), samples[0], strict=False)
                made, _ = there.make("int8")
        except ExportError:
            return "unroll=True in the recurrent layers was tried, and can't be converted either"
        left = in_float(read_operations(made))
        if left:
            return f"unroll=True in the recurrent layers was tried: it leaves {', '.join(left[:3])} in float"
        return "unroll=True in the recurrent layers was tried: then all compute in integers"

    def _converted(self, precision: str, io: str) -> bytes:
        samples = self._calibration.samples if self._calibration else ()
        made = converter_process().convert(self._saved_model, precision, io, samples, self._model)
        return sized_as(made, self._sample)

    def _quantized(self, precision: str, io: str) -> bytes:
        name = installed_quantizer()
        assert name is not None
        ranges = None
        if precision == "int8":
            assert self._calibration is not None, "int8 comes with representative data"
            self._ranges = self._ranges or measured_ranges(self.float32, self._calibration.samples, name)
            ranges = self._ranges
        content = inlined(quantized(self.float32, precision, io, name, ranges))
        return unsigned_edges(content) if io == "uint8" else content
