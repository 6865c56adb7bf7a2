"""scikit-learn's digits."""

from __future__ import annotations

import numpy as np

from kerasft.data.source import LabelledSource, arrays_source


def read_digits() -> LabelledSource:
    """Read the 1,797 digits, with pixels from 0 to 255."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError('The digits come with scikit-learn: pip install "kerasft[demo]"') from error
    digits = load_digits()
    images = np.rint(digits.images[..., None] * (255 / 16)).astype("uint8")
    names = tuple(str(n) for n in digits.target_names)
    labels = digits.target.astype("int32")
    return arrays_source(images, labels, names, np.zeros(len(labels), int))
