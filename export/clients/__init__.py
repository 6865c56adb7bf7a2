"""Companions of an exported file for those who run it: metadata for MediaPipe, golden packs, and a web page.

A client has the file and no Keras model. It learns from here what the file takes and gives, and how far its
results may be from the ones measured at export. Nothing here imports TensorFlow. `verify` imports nothing of
kerasft at all: a pack holds a copy of it, which runs with numpy and LiteRT alone.

Inside, `pack` stands on `golden`, `tolerance` and `verify`, and `metadata` on `mediapipe`. `browser` stands
on `teaching` and `first_weights`, it and `teaching` on `model_json`, and this and `mediapipe` on `pixels`.
The pages' files are in `web`.
"""

from .browser import to_web
from .golden import golden_inputs
from .mediapipe import client_normalization
from .metadata import ScoreCalibration, add_metadata
from .pack import to_pack
from .pixels import pixel_normalization
from .tolerance import allowed_difference, steps_of_floats
from .verify import PackError, Verification, verify_pack

__all__ = [
    "PackError",
    "ScoreCalibration",
    "Verification",
    "add_metadata",
    "allowed_difference",
    "client_normalization",
    "golden_inputs",
    "pixel_normalization",
    "steps_of_floats",
    "to_pack",
    "to_web",
    "verify_pack",
]
