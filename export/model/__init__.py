"""What is exported: a Keras model in float32, its names, and the data that its files are checked with.

Every exporter begins here and sees the model through `Subject`: in float32 whatever it trained in, with named
inputs and outputs, golden samples and what the model gives for them, and the samples on which int8 is
calibrated. A mistake in a model, in labels or in data is found here, before anything is converted.

Inside, `subject` stands on `calibration` and `float32`, and these on `samples`.
"""

from .calibration import Calibration
from .subject import Subject

__all__ = ["Calibration", "Subject"]
