"""Networks. timm alone creates them; importing this package registers noisybench's own backbones there, too."""

from noisybench.models import cnn, mlp, resnet
from noisybench.models.create import NetworkSpec, create_network, model_facts, model_names

__all__ = ["NetworkSpec", "cnn", "create_network", "mlp", "model_facts", "model_names", "resnet"]
