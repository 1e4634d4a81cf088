"""Networks. timm alone creates them; importing this package registers noisybench's own backbones there."""

from noisybench.models import cnn, mlp, resnet
from noisybench.models.create import OWN_MODELS, NetworkSpec, create_network, model_facts, model_names

__all__ = ["OWN_MODELS", "NetworkSpec", "cnn", "create_network", "mlp", "model_facts", "model_names", "resnet"]
