"""Networks. timm alone creates them; importing this package registers noisybench's own backbones there, too."""

from noisybench.models import cnn, mlp, resnet
from noisybench.models.create import NetworkSpec, create_network, model_facts, model_names
from noisybench.models.head import HeadSpec, create_head

__all__ = ["HeadSpec", "NetworkSpec", "cnn", "create_head", "create_network", "mlp", "model_facts", "model_names", "resnet"]
