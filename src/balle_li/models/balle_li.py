"""`balle-li`: the paper's model, the baseline with a learned importance mask."""

import torch
from torch import Tensor, nn

from balle_li.models.base import CompressionModel, ModelOutput
from balle_li.models.entropy import EntropyBottleneck
from balle_li.models.klt import start_as_klt
from balle_li.models.layers import GDN, conv, deconv


class BalleLi(CompressionModel):
    """Graham & Decoto (2019), "Balle-Li": Ballé's transforms, with the importance mask of Li et al. (2018) on the latents.

                ┌──────────┐     ┌─────────┐
        x ─────►│ features ├──f─►│ latents ├──e──►(·)── y = e·M ─►[entropy bottleneck]─ y_hat ─►[ g_s ]──► x_hat
                └──────────┘  │  └─────────┘      ▲                        │
                              │  ┌────────────┐   │                   likelihoods
                              └─►│ importance ├─P─┴─ M = P > ½
                                 └────────────┘

        x           (B, 3, H, W)
        features    conv 9×9 ↓4 · GDN · conv 5×5 ↓2 · GDN · conv 5×5 ↓2 · GDN        f (B, N, H/16, W/16)
        latents     conv 1×1                                                         e (B, N, H/16, W/16)
        importance  conv 1×1 · sigmoid · conv 1×1 · sigmoid · conv 1×1 · sigmoid     P (B, 1, H/16, W/16)
        g_s         conv 1×1 · IGDN · deconv 5×5 ↑2 · IGDN · deconv 5×5 ↑2 · IGDN · deconv 9×9 ↑4

    The mask M passes its gradient straight through to P. It is not sent: the decoder sees a masked position as latents
    that were coded at their most likely value.
    """

    downsampling = 16
    started_as_klt = ("features", "latents", "g_s")

    def __init__(self, N: int) -> None:
        super().__init__(N)
        self.features = nn.Sequential(
            conv(3, N, kernel=9, stride=4),
            GDN(N),
            conv(N, N, kernel=5, stride=2),
            GDN(N),
            conv(N, N, kernel=5, stride=2),
            GDN(N),
        )
        self.latents = nn.Sequential(conv(N, N, kernel=1, stride=1))
        self.importance = nn.Sequential(
            conv(N, N, kernel=1, stride=1),
            nn.Sigmoid(),
            conv(N, N, kernel=1, stride=1),
            nn.Sigmoid(),
            conv(N, 1, kernel=1, stride=1),
            nn.Sigmoid(),
        )
        self.entropy_bottleneck = EntropyBottleneck(N)
        self.g_s = nn.Sequential(
            conv(N, N, kernel=1, stride=1),
            GDN(N, inverse=True),
            deconv(N, N, kernel=5, stride=2),
            GDN(N, inverse=True),
            deconv(N, N, kernel=5, stride=2),
            GDN(N, inverse=True),
            deconv(N, 3, kernel=9, stride=4),
        )
        start_as_klt([*self.features, *self.latents], self.g_s)

    def forward(self, x: Tensor, importance: Tensor | None = None) -> ModelOutput:
        features = self.features(x)
        probability = self.importance(features)
        y = self.latents(features) * straight_through_mask(probability)
        y_hat, likelihoods = self.entropy_bottleneck(y)
        return {"x_hat": self.g_s(y_hat), "likelihoods": {"y": likelihoods}, "importance": probability}

    def networks(self) -> dict[str, nn.Sequential]:
        return {"features": self.features, "latents": self.latents, "importance": self.importance, "g_s": self.g_s}

    def bottlenecks(self) -> dict[str, EntropyBottleneck]:
        return {"y": self.entropy_bottleneck}


def straight_through_mask(probability: Tensor) -> Tensor:
    """1 where `probability` exceeds ½, else 0; its gradient is taken to be that of `probability` itself."""
    mask = (probability > 0.5).to(probability.dtype)
    return mask + (probability - probability.detach()) if torch.is_grad_enabled() else mask
