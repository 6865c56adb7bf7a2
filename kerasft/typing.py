"""Names for types that occur all over kerasft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Logs: TypeAlias = dict[str, Any] | None
"""What Keras hands to a hook of a callback: values by name, or nothing."""

Batch: TypeAlias = Any
"""What a data set gives for a step: x, (x, y) or (x, y, weight), each a tensor or a structure of tensors."""

Columns: TypeAlias = Sequence[Any]
"""Arrays or tensors with one row for each sample, in an order that both sides know."""

Crossing: TypeAlias = Sequence[tuple[Any, Any]]
"""What crosses from a model's frozen part to the rest for a batch: values, each with its mask or None."""

Rows: TypeAlias = np.ndarray
"""Numbers of recorded samples, int64 of shape (samples,)."""
