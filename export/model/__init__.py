"""The subject of an export: a Keras model in float32, its names, and the data to check its files with.

Every exporter begins here and sees the model through `Subject`: in float32 whatever it trained in, with named
inputs and outputs, golden samples and the model's outputs for them, and the samples on which int8 is
calibrated. A mistake in a model, in labels or in data is found here, before anything is converted.

Inside, `subject` stands on `calibration`, `float32`, `holdout` (its golden samples) and `measured` (files on
all of it), these on `targets` (what its labels are), `finite`, `samples` and `preprocessing`, and all on
`signature`.
"""

from .calibration import Calibration
from .measured import Measured
from .signature import check_model, input_specs, layers_of, serving, tables_of
from .subject import Subject

__all__ = [
    "Calibration",
    "Measured",
    "Subject",
    "check_model",
    "input_specs",
    "layers_of",
    "serving",
    "tables_of",
]
