"""A model as an ordered list of stages, from the input to the head.

Everything in kerasft is expressed along this one axis. Freeze depth `d` means that stages `0 … d-1` are
frozen and the rest train. This folder finds the stages of a model. A layer that is a stage by itself is a
`StageLayer`: it manages its own weights, and follows a policy for batch normalization. `kerasft.hub` makes
such layers, and uses the graph algorithms of this folder to divide a SavedModel the same way.
"""

from kerasft.stages.addresses import (
    check_stage_name,
    is_pattern,
    layer_paths,
    layers_at,
    matches,
)
from kerasft.stages.blocks import (
    group_blocks,
    unique_names,
)
from kerasft.stages.dominators import (
    cut_points,
)
from kerasft.stages.find import (
    find_stages,
)
from kerasft.stages.frontier import (
    cheapest_frontier,
)
from kerasft.stages.kept_frozen import (
    KeptFrozen,
)
from kerasft.stages.series import (
    Series,
)
from kerasft.stages.stage import (
    Stage,
    Stages,
)
from kerasft.stages.stage_layer import (
    BatchNormPolicy,
    DropoutPolicy,
    StageLayer,
    check_dropout_policy,
    check_policy,
)
from kerasft.stages.stage_outputs import (
    StageOutputs,
    linear_cka,
)
from kerasft.stages.user_flags import (
    SeenFlags,
    UserFlags,
    record,
    recorded,
)

__all__ = [
    "BatchNormPolicy",
    "DropoutPolicy",
    "KeptFrozen",
    "SeenFlags",
    "Series",
    "Stage",
    "StageLayer",
    "StageOutputs",
    "Stages",
    "UserFlags",
    "cheapest_frontier",
    "check_dropout_policy",
    "check_policy",
    "check_stage_name",
    "cut_points",
    "find_stages",
    "group_blocks",
    "is_pattern",
    "layer_paths",
    "layers_at",
    "linear_cka",
    "matches",
    "record",
    "recorded",
    "unique_names",
]
