"""TF Hub backbones as ordinary Keras 3 models, divided into stages that freeze and thaw one by one.

`load_backbone` takes a SavedModel's graph apart, once `saved_model_check` let it be opened. `flatten` brings
it to one level of nodes, where reads of variables are inputs and lookup tables are constants; `text_part` is
what turns strings into numbers, without weights; `divide` cuts the rest where one tensor or the
fewest bytes cross, and a `Blueprint` holds the parts. Each part becomes a `HubStage`, a Keras layer that owns
its weights and carries its graph in a `.keras` file, whose operations are checked against a list when it is
loaded. Nothing else in kerasft knows about Hub.
"""

from kerasft.hub.handles import (
    resolve,
)
from kerasft.hub.hub_stage import (
    HubStage,
)
from kerasft.hub.input_range import (
    range_mismatch,
)
from kerasft.hub.load import (
    load_backbone,
)
from kerasft.hub.saved_model_check import (
    check_saved_model,
)

__all__ = [
    "HubStage",
    "check_saved_model",
    "load_backbone",
    "range_mismatch",
    "resolve",
]
