"""TF Hub backbones as ordinary Keras 3 models, divided into stages that freeze and thaw one by one."""

from kerasft.hub.handles import (
    resolve,
)
from kerasft.hub.hub_stage import (
    BatchNormPolicy,
    HubStage,
    check_policy,
)
from kerasft.hub.load import (
    load_backbone,
)

__all__ = [
    "BatchNormPolicy",
    "HubStage",
    "check_policy",
    "load_backbone",
    "resolve",
]
