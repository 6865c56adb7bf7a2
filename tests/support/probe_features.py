"""Features as the linear probe scales them, computed once more for comparisons with scikit-learn."""

import numpy as np


def scaled(rows, whole=None):
    """Rows at mean 0, each feature over its deviation in `whole`, or their upper quartile if larger."""
    whole = rows if whole is None else whole
    spread = whole.std(0)
    varies = spread > 1e-6 * spread.max()
    divisor = np.maximum(spread, np.percentile(spread[varies], 75))
    return (rows - whole.mean(0)) / np.where(varies, divisor, np.inf)
