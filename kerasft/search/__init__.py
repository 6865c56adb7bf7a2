"""A keras-tuner search for how deep to unfreeze a model, and how to get there.

A trial builds the user's model, freezes it, and walks down to a freeze depth by a recipe; trials share
frozen work. `trial` runs one of them, `loss` finds the loss of a model that is not compiled, `results` holds
what trials achieved, `cluster` runs them on a Ray cluster.
"""

from kerasft.search.cluster import (
    search_on_ray,
)
from kerasft.search.exported_accuracy import (
    ExportedAccuracy,
)
from kerasft.search.hypermodel import (
    FreezeDepthSearch,
)
from kerasft.search.results import (
    TrialRecord,
    ranked,
    repair_search,
    table,
)
from kerasft.search.space import (
    apply,
)

__all__ = [
    "ExportedAccuracy",
    "FreezeDepthSearch",
    "TrialRecord",
    "apply",
    "ranked",
    "repair_search",
    "search_on_ray",
    "table",
]
