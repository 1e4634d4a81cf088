"""Networks. timm alone creates them; importing this package registers noisybench's own backbones there, too."""

from noisybench.models import cnn, mlp, resnet
from noisybench.models.create import NetworkSpec, check_model_name, create_network, model_facts, model_names

__all__ = ["NetworkSpec", "check_model_name", "cnn", "create_network", "mlp", "model_facts", "model_names", "resnet"]
