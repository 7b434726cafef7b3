"""Vision transformer (Dosovitskiy et al. 2021), as vision transformers were popular backbones in Le et al. 2022."""

import re
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

PATCH = 16
"""Height and width of a patch in pixels (ViT-B/16)."""

WIDTH, LAYERS, HEADS, HIDDEN = 768, 12, 12, 3072
"""Length of a patch's vector, layers, heads of attention, units of the layers between (table 1, ViT-Base)."""

DEVIATION = 0.02
"""Standard deviation of the weights at the start, cut at twice that."""

NAMES = (
    (r"^(?:cls_token|class_token)$", "token"),
    (r"^(?:pos_embed|encoder\.pos_embedding)$", "positions"),
    (r"^(?:patch_embed\.proj|conv_proj)\.", "patches."),
    (r"^(?:blocks\.|encoder\.layers\.encoder_layer_)(\d+)\.", r"layers.\1."),
    (r"^(layers\.\d+)\.(?:norm|ln_)([12])\.", r"\1.norm\2."),
    (r"\.(?:attn\.qkv\.|self_attention\.in_proj_)", ".self_attn.in_proj_"),
    (r"\.(?:attn\.proj|self_attention\.out_proj)\.", ".self_attn.out_proj."),
    (r"\.mlp\.(?:fc1|linear_1|0)\.", ".linear1."),
    (r"\.mlp\.(?:fc2|linear_2|3)\.", ".linear2."),
    (r"^encoder\.ln\.", "norm."),
    (r"^(?:heads\.head|head)\.", "out."),
)
"""Names that the published weights of two libraries have, and those that the same layers have here."""


class VisionTransformer(nn.Module):
    """ViT-B/16, with 86,567,656 parameters for three channels, 224 pixels and 1000 classes.

    Takes (N, roles, H, W) float32 whose height and width are multiples of 16; gives the vector (N, width), that of the
    class token, and the logits (N, classes). Positions are learned on the grid that it was built for, and interpolated
    to that of other images (section 3.2).

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images.
        width: length of a patch's vector.
        layers: of the transformer.
        heads: of attention in each layer, a divisor of `width`.
        hidden: units between the two layers after each attention.
        dropout: share dropped in each layer in training.
    """

    inputs = ("patches",)
    outputs = ("out",)

    def __init__(
        self,
        roles: int,
        classes: int,
        size_px: int,
        width: int = WIDTH,
        layers: int = LAYERS,
        heads: int = HEADS,
        hidden: int = HIDDEN,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.grid = size_px // PATCH
        self.patches = nn.Conv2d(roles, width, PATCH, PATCH)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, hidden, dropout, nn.functional.gelu, 1e-6, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.out = nn.Linear(width, classes)
        # the last layer reads them into the class token: attention maps are drawn where they enter it
        self.last_maps = nn.Identity()
        for name, values in self.named_parameters():
            if values.dim() > 1:
                nn.init.trunc_normal_(values, std=DEVIATION, a=-2 * DEVIATION, b=2 * DEVIATION)
            elif name.endswith("bias"):
                nn.init.zeros_(values)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector (N, width) and logits (N, classes) of images (N, roles, H, W)."""
        maps = self.patches(images)
        height, width = maps.shape[2:]
        tokens = torch.cat([self.token.expand(len(maps), -1, -1), maps.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens + self.positions_of(height, width)
        for layer in self.layers[:-1]:
            tokens = layer(tokens)
        maps = self.last_maps(tokens[:, 1:].transpose(1, 2).unflatten(2, (height, width)))
        tokens = torch.cat([tokens[:, :1], maps.flatten(2).transpose(1, 2)], dim=1)
        vector = self.norm(self.layers[-1](tokens)[:, 0])
        return vector, self.out(vector)

    def positions_of(self, height: int, width: int) -> torch.Tensor:
        """What is added to the class token and the patches of a grid, (1, 1 + height x width, D)."""
        return interpolated(self.positions, height, width)

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights by this network's own names, from published ones, with positions for its own grid."""
        named = {}
        for name, values in state.items():
            for pattern, replacement in NAMES:
                name = re.sub(pattern, replacement, name)
            named[name] = interpolated(values, self.grid, self.grid) if name == "positions" else values
        return named


def interpolated(positions: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Positions of the class token and a square grid, (1, 1 + n x n, D), for another grid (section 3.2).

    Args:
        positions: as they were learned.
        height: patches along the first axis.
        width: patches along the second axis.

    Returns:
        (1, 1 + height x width, D), bicubic; `positions` itself where the grid is the same.
    """
    side = int((positions.shape[1] - 1) ** 0.5)
    if (height, width) == (side, side):
        return positions
    learned = positions[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    found = functional.interpolate(learned, (height, width), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], found.flatten(2).transpose(1, 2)], dim=1)


def build(
    roles: int,
    classes: int,
    size_px: int,
    width: int = WIDTH,
    layers: int = LAYERS,
    heads: int = HEADS,
    hidden: int = HIDDEN,
    dropout: float = 0.0,
) -> VisionTransformer:
    """A vision transformer with random weights.

    Args:
        roles: channels of the images.
        classes: locations.
        size_px: height and width of the images, which set the grid of learned positions.
        width: length of a patch's vector.
        layers: of the transformer.
        heads: of attention in each layer, a divisor of `width`.
        hidden: units between the two layers after each attention.
        dropout: share dropped in each layer in training.
    """
    return VisionTransformer(roles, classes, size_px, width, layers, heads, hidden, dropout)
