"""Methods with a module of their own behind the run's network."""

from __future__ import annotations

from torch import nn

from noisybench.methods import StepOutput
from noisybench.methods.ce import CrossEntropy


class NormalisedHead(CrossEntropy):
    """With a BatchNorm that the run's model does not hold."""

    def build(self):
        self.network = self.context.make_network()
        classes = self.context.num_classes
        head = nn.Sequential(*self.between(classes))
        self.head = head.to(self.context.device, self.context.dtype)
        self.optimizer = self.context.make_optimizer(self.network, self.head)

    def between(self, classes: int) -> list[nn.Module]:
        return [nn.BatchNorm1d(classes)]

    def training_step(self, batch):
        logits = self.head(self.network(batch.images))
        loss = self.loss(logits, batch)
        self.context.step(loss, self.optimizer)
        return StepOutput(loss, logits)

    def predict(self, images, head):
        return self.head(self.network(images)).softmax(dim=1)


class DroppingHead(NormalisedHead):
    def between(self, classes):
        return [nn.Dropout(0.5)]
