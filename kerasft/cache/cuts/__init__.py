"""Where a model can be divided, and both halves as traced functions.

A cut is a tensor, or several that cross together. Nothing before it trains or draws at random, so its values
are the same whenever a sample comes again; after it comes all else that the outputs need, computed from the
model's inputs.
"""

from kerasft.cache.cuts.batches import (
    leaves,
    without_optionals,
)
from kerasft.cache.cuts.cut import (
    Cut,
    NoCutError,
)
from kerasft.cache.cuts.determinism import (
    why_nondeterministic,
)
from kerasft.cache.cuts.find import (
    find_cut,
)
from kerasft.cache.cuts.prefix import (
    Prefix,
    trace_prefix,
)
from kerasft.cache.cuts.suffix import (
    Suffix,
    value_places,
    with_masks,
)

__all__ = [
    "Cut",
    "NoCutError",
    "Prefix",
    "Suffix",
    "find_cut",
    "leaves",
    "trace_prefix",
    "value_places",
    "why_nondeterministic",
    "with_masks",
    "without_optionals",
]
