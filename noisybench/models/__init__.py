"""Networks. timm alone creates them; importing this package registers noisybench's own backbones there, too."""

from noisybench.models import cnn, lite0, mlp, resnet
from noisybench.models.create import (
    Backbone,
    NetworkSpec,
    check_model_name,
    create_backbone,
    create_network,
    data_config,
    model_facts,
    model_names,
)
from noisybench.models.data_config import DataConfig
from noisybench.models.head import HeadSpec, create_head
from noisybench.models.weights import Weights, read_weights

__all__ = [
    "Backbone",
    "DataConfig",
    "HeadSpec",
    "NetworkSpec",
    "Weights",
    "check_model_name",
    "cnn",
    "create_backbone",
    "create_head",
    "create_network",
    "data_config",
    "lite0",
    "mlp",
    "model_facts",
    "model_names",
    "read_weights",
    "resnet",
]
