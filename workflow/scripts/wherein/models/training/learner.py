"""A network together with what it is trained by: one module from images and targets to the loss."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wherein.models.training.distributed import Place
from wherein.models.training.feed import Feed
from wherein.models.training.losses import ONE_CLASS, Criterion
from wherein.models.training.metric import ArcFace, metric_loss


class Learner(nn.Module):
    """A network, its losses, and the head of metric learning where there is one.

    One module, so that several processes exchange the gradients of all its parameters, and torch.compile sees it whole.

    Args:
        network: images (N, C, H, W) to the vector (N, D) and logits (N, K). Further logits (N, K) to be trained
            like these it leaves, in training, in its attribute `auxiliary`, a tuple.
        settings: `models.<name>.training` of the configuration.
        classes: K.
        vector_length: D; asked for by metric learning alone.
        positive: (K,) what a positive of each class weighs; None for 1.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: Mapping[str, Any],
        classes: int,
        vector_length: int = 0,
        positive: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.criterion = Criterion(settings, positive)
        self.head = ArcFace(vector_length, classes, **settings["arcface"]) if self.criterion.one_class else None
        self._auxiliary = settings["auxiliary"]

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch, float32; what a feed gives as targets."""
        vectors, logits = self.network(images)
        if self.head is not None:
            weights = self.criterion.weights
            return metric_loss(
                self.head, vectors, targets, weights.get("arcface", 0.0), weights.get("cross_entropy", 0.0)
            )
        loss = self.criterion(logits, targets)
        further = getattr(self.network, "auxiliary", ())
        if further:
            self.network.auxiliary = ()  # kept there, they would hold the batch's maps in memory
        if self._auxiliary:
            for other in further:
                loss = loss + self._auxiliary * self.criterion(other, targets)
        return loss

    def loss_of(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits as `answers` gives them."""
        if self.criterion.one_class:
            return nn.functional.cross_entropy(logits, targets)
        return self.criterion(logits, targets)


def make_learner(
    network: nn.Module,
    training: Feed,
    settings: Mapping[str, Any],
    place: Place,
    class_weights: np.ndarray | None = None,
) -> Learner:
    """The network with its losses, on the device of the process and in the layout that the configuration asks for.

    Args:
        network: images to vector and logits.
        training: what it will learn from.
        settings: `models.<name>.training` of the configuration.
        place: this process.
        class_weights: (K,) what a positive of each class weighs; None for 1.
    """
    if place.world > 1 and place.device.type == "cuda" and settings["sync_batch_norm"]:
        # a copy: the network that was given keeps layers that run on one processor
        network = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(network))
    network = network.to(place.device)
    length = 0
    if any(settings["loss"][name] for name in ONE_CLASS):
        images = next(iter(training.batches(0, 0)))[0]
        with torch.inference_mode():
            length = network.eval()(images[:1])[0].shape[1]
    torch.manual_seed(settings["seed"])
    positive = None if class_weights is None else torch.from_numpy(class_weights).float()
    learner = Learner(network, settings, training.classes, length, positive).to(place.device)
    return learner.to(memory_format=torch.channels_last) if settings["channels_last"] else learner


def answers(network: nn.Module, head: ArcFace | None, images: Tensor) -> Tensor:
    """Logits (N, K) float32 of images (N, C, H, W), or of tiles (N, T, C, H, W): those of the tiles' mean probability.

    With the head of metric learning the logits are scaled cosines, and tiles are averaged as they are.
    """
    tiles = images.shape[1] if images.ndim == 5 else 1
    vectors, logits = network(images.flatten(0, 1) if images.ndim == 5 else images)[:2]
    logits = (logits if head is None else head(vectors)).float()
    if tiles == 1:
        return logits
    parts = logits.unflatten(0, (-1, tiles))
    return parts.mean(dim=1) if head is not None else mean_of_probabilities(parts)


def mean_of_probabilities(logits: Tensor) -> Tensor:
    """Logits (N, K) of the mean probability of tiles (N, T, K) (Rumetshofer et al. 2019, section 3.1).

    By logarithms of p and of 1 - p, which keep their digits where p is near 0 or 1; T falls out of their difference.
    """
    log_sigmoid = nn.functional.logsigmoid
    return torch.logsumexp(log_sigmoid(logits), dim=1) - torch.logsumexp(log_sigmoid(-logits), dim=1)
