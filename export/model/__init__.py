"""The subject of an export: a Keras model in float32, its names, and the data to check its files with.

Every exporter begins here and sees the model through `Subject`: in float32 whatever it trained in, with named
inputs and outputs, golden samples and the model's outputs for them, and the samples on which int8 is
calibrated. A mistake in a model, in labels or in data is found here, before anything is converted.

Inside, `subject` stands on `calibration`, `ranges`, `pipeline`, `holdout` (its golden samples) and `measured`
(files on all of it). `pipeline` (what `predict` does outside the call) stands on `float32`, `predicting` and
`built_in`, and this on `affine_pictures`; `ranges` on `preprocessing` and this on `input_graph`; the others
on `targets` (what labels are), `finite` and `samples`, and all on `signature`, which stands on `failures`.
"""

from .calibration import Calibration
from .failures import plain, told
from .image_size import at_image_size
from .layer_names import layers_named_in, located
from .measured import Measured
from .pipeline import prepared
from .ranges import implied_range
from .samples import expected_of, random_values
from .signature import check_model, input_names, input_specs, layers_of, serving, serving_of, tables_of
from .subject import Subject

__all__ = [
    "Calibration",
    "Measured",
    "Subject",
    "at_image_size",
    "check_model",
    "expected_of",
    "implied_range",
    "input_names",
    "input_specs",
    "layers_named_in",
    "layers_of",
    "located",
    "plain",
    "prepared",
    "random_values",
    "serving",
    "serving_of",
    "tables_of",
    "told",
]
