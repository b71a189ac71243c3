"""How an agent looks at camera frames, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from serl.agents.base import check_choice, check_range
from serl.errors import UserError
from serl.pixels import POOLINGS


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What else, beside the shift, is done to a crop of a frame; all 0, as by default, is nothing.

    Crop 0, what the actor sees, stays clean. See serl.networks.augment.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    """Largest relative change of each, drawn uniformly: 0.3 is a factor of 0.7 ... 1.3."""
    hue: float = 0.0
    """Largest rotation of the colours, in turns."""
    greyscale: float = 0.0
    """Probability that a crop loses its colours."""
    blur_px: float = 0.0
    """Largest standard deviation of a Gaussian blur [pixels]."""
    cutout: float = 0.0
    """Largest side of a box of the mean colour, as a share of the frame's side."""

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "greyscale", "cutout"):
            check_range(f"image.augment.{name}", getattr(self, name), 0.0, 1.0)
        check_range("image.augment.hue", self.hue, 0.0, 0.5)
        check_range("image.augment.blur_px", self.blur_px, 0.0, 8.0)

    @property
    def on(self) -> bool:
        """Whether anything is done."""
        return self != AugmentConfig()


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """Trunk, head and crops. Used where the observation has images; otherwise nothing reads it."""

    trunk: str = "auto"
    """One of serl.networks.trunks; "auto" is small on a CPU, and resnet10 on a GPU where its
    pretrained weights are here."""
    weights: str = "pretrained"
    """"pretrained": this repository's; "random"; or a file made by `serl weights import`."""
    frozen: bool = True
    """False trains the trunk with the critics: nothing can be cached then."""
    precision: str = "float32"
    """"float32" or "bfloat16": how a frozen trunk multiplies."""

    crops: int = 2
    """K random crops of each frame whose features are kept; 0 keeps none and encodes each batch
    anew (slow; what others do)."""
    shift_px: int = 4
    """Largest random shift [pixels]; 0 for none. DrQ, arXiv:2004.13649."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changes of colour and the like, of each crop but crop 0."""
    stack: int = 1
    """T frames that one observation shows, oldest first."""

    pooling: str = "spatial_embeddings"
    """One of POOLINGS: how (h, w, C) becomes a vector."""
    embeddings: int = 8
    """Learned spatial maps per channel, for pooling "spatial_embeddings" (SERL's 8)."""
    actor_minibatches: int = 1
    """Of a call's U minibatches, how many the actor's step sees, the last ones; 0 is all, as
    without images. SERL: 1."""

    bottleneck: int = 256
    """Width of one camera's code."""
    state_code: int = 64
    """Width of the state vector's code beside the images'."""
    dropout: float = 0.0
    """Of the pooled features, in the policy's and critics' training passes. SERL: 0.1, policy."""

    def __post_init__(self) -> None:
        check_choice("image.pooling", self.pooling, POOLINGS)
        check_choice("image.precision", self.precision, ("float32", "bfloat16"))
        check_range("image.crops", self.crops, 0, 64)
        check_range("image.shift_px", self.shift_px, 0, 32)
        check_range("image.stack", self.stack, 1, 16)
        if self.augment.on and self.frozen and not self.shift_px:
            raise UserError(
                "agent.image.augment changes shifted crops only, and agent.image.shift_px is 0: "
                "set it to at least 1, or leave augment off."
            )
        if self.augment.on and self.frozen and self.stack > 1:
            raise UserError(
                "agent.image.augment changes each frame by a draw of its own, and the frames of a "
                "stack must be changed alike: with a frozen trunk set agent.image.stack to 1, or "
                "leave augment off."
            )
        check_range("image.actor_minibatches", self.actor_minibatches, 0, 2**20)
        check_range("image.dropout", self.dropout, 0.0, 0.9)
        for name in ("embeddings", "bottleneck", "state_code"):
            check_range(f"image.{name}", getattr(self, name), 1, 4096)
