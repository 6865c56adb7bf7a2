"""Companions of an exported file for those who run it: metadata, golden packs, client code, and a web page.

A client has the file and no Keras model. It learns from here what the file takes and gives, and how far its
results may be from the ones measured at export. Nothing here imports TensorFlow. `verify` imports nothing of
kerasft but `pack_files`: a pack holds copies of both, which run with numpy and LiteRT alone.

Inside, `pack` stands on `golden`, `tolerance` and `verify`, this on `pack_files`, `metadata` on `mediapipe`.
`browser` stands on `teaching` and `first_weights`, it and `teaching` on `model_json`, and this, `mediapipe`
and `source_code` on `pixels`. `web` holds the pages' files, `code` templates.
"""

from .browser import to_web
from .golden import golden_inputs, made_up_targets
from .mediapipe import client_normalization
from .metadata import ScoreCalibration, add_metadata
from .pack import to_pack
from .pack_files import PackError
from .pixels import pixel_normalization
from .source_code import client_code
from .tolerance import allowed_difference, steps_of_floats
from .verify import Verification, verify_pack

__all__ = [
    "PackError",
    "ScoreCalibration",
    "Verification",
    "add_metadata",
    "allowed_difference",
    "client_code",
    "client_normalization",
    "golden_inputs",
    "made_up_targets",
    "pixel_normalization",
    "steps_of_floats",
    "to_pack",
    "to_web",
    "verify_pack",
]
