"""The head of the winner of Ouyang et al. 2019, which several networks here share."""

import torch
from torch import nn

HIDDEN = 1024
"""Length of the vector (Ouyang et al. 2019, feature visualization with UMAP: "the 1,024-dimension feature")."""

DROPOUT = 0.5
"""Before and after the hidden layer, in training only (released code of team 1)."""


class TwoLayerHead(nn.Module):
    """Batch norm, dropout, a hidden layer, ReLU, batch norm, dropout and the last layer (released code of team 1).

    In training a batch holds two images or more, since the norms are over the batch alone.

    Args:
        inputs: length of what it is given.
        classes: locations.
        hidden: length of the vector.
        dropout: share dropped before each layer in training.
    """

    def __init__(self, inputs: int, classes: int, hidden: int = HIDDEN, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.BatchNorm1d(inputs),
            nn.Dropout(dropout),
            nn.Linear(inputs, hidden),
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(hidden),
            nn.Dropout(dropout),
        )
        self.out = nn.Linear(hidden, classes)

    def forward(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, hidden) and logits (N, classes) of (N, inputs)."""
        vector = self.hidden(pooled)
        return vector, self.out(vector)
