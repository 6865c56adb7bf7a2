"""Frozen work is done once: the cache of what the frozen layers of a model give for each sample.

While the first layers are frozen and deterministic, what they give for a sample cannot change. The callback
puts a step function of its own in place of Keras's: it records the first epoch, and later epochs train only
the rest of the model. `cuts` says where a model can be divided, `records` holds what was recorded.
"""

from kerasft.cache.callback import (
    PrefixCache,
)
from kerasft.cache.cut_plan import (
    CutPlan,
)
from kerasft.cache.cuts import (
    NoCutError,
    find_cut,
)
from kerasft.cache.inspection import (
    PrefixReport,
    inspect_prefix,
    why_never,
)
from kerasft.cache.report import (
    CacheReport,
)

__all__ = [
    "CacheReport",
    "CutPlan",
    "NoCutError",
    "PrefixCache",
    "PrefixReport",
    "find_cut",
    "inspect_prefix",
    "why_never",
]
