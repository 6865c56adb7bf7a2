"""Resizes as products of matrices, against the resize itself."""

import keras
import numpy as np
import pytest
from kerasft.export.model.affine_pictures import measured_map
from PIL import Image

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "options", [{}, {"antialias": True}, {"interpolation": "bicubic"}, {"crop_to_aspect_ratio": True}]
)
def test_equal_to_the_layer(options):
    layer = keras.Sequential([keras.layers.Resizing(7, 6, **options), keras.layers.Rescaling(1 / 255, -0.5)])
    x = RNG.uniform(0, 255, (3, 20, 33, 3)).astype("float32")
    made = measured_map(layer, (20, 33, 3))(x)
    np.testing.assert_allclose(made, layer(x), atol=1e-4)
    assert np.ptp(made) > 0.1


def test_equal_to_pillow():
    """Pillow's BILINEAR is antialiased; it rounds to whole numbers."""
    picture = RNG.integers(0, 256, (40, 30, 3)).astype("uint8")
    wanted = np.asarray(Image.fromarray(picture).resize((10, 10), Image.Resampling.BILINEAR), "float64")
    layer = keras.layers.Resizing(10, 10, antialias=True)
    made = measured_map(layer, (40, 30, 3))(picture[None].astype("float32"))
    assert np.abs(np.asarray(made)[0] - wanted).max() < 1.1


def test_one_factor_for_each_channel():
    layer = keras.layers.Rescaling([1.0, 2.0, 0.0], [0.0, 1.0, 5.0])
    x = RNG.uniform(0, 255, (2, 4, 5, 3)).astype("float32")
    np.testing.assert_allclose(measured_map(layer, (4, 5, 3))(x), layer(x), rtol=1e-5)
