"""`balle-li`: the paper's model, the baseline with a learned importance mask."""

import torch
from torch import Tensor, nn

from balle_li.latents.factorized import FactorizedLatents
from balle_li.models.base import CompressionModel, ModelOutput, register_model
from balle_li.models.klt import start_as_klt
from balle_li.models.layers import GDN, conv, deconv


class ImportanceMask(nn.Module):
    """e · M of features f `(B, N, h, w)`, of the same shape: a 1×1 convolution, 0 where the importance is at most ½.

    latents     conv 1×1                                                         e (B, N, h, w)
    importance  conv 1×1 · sigmoid · conv 1×1 · sigmoid · conv 1×1 · sigmoid     P (B, 1, h, w)

    The mask M = P > ½ passes its gradient straight through to P.
    """

    reach = 0  # of the tiles: every place depends on itself alone

    def __init__(self, N: int) -> None:
        super().__init__()
        self.latents = conv(N, N, kernel=1, stride=1)
        self.importance = nn.Sequential(
            conv(N, N, kernel=1, stride=1),
            nn.Sigmoid(),
            conv(N, N, kernel=1, stride=1),
            nn.Sigmoid(),
            conv(N, 1, kernel=1, stride=1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.masked(features, self.importance(features))

    def masked(self, features: Tensor, importance: Tensor) -> Tensor:
        return self.latents(features) * straight_through_mask(importance)


@register_model("balle-li")
class BalleLi(CompressionModel):
    """Graham & Decoto (2019), "Balle-Li": Ballé's transforms, with the importance mask of Li et al. (2018) on the latents.

                ┌──────────────────────────────────────────┐
        x ─────►│ g_a:  features ─ f ─► ImportanceMask     ├─ y = e·M ─►[ factorized latents ]─ y_hat ─►[ g_s ]──► x_hat
                └──────────────────────────────────────────┘

        x         (B, 3, H, W)
        features  conv 9×9 ↓4 · GDN · conv 5×5 ↓2 · GDN · conv 5×5 ↓2 · GDN        f (B, N, H/16, W/16)
        y         (B, N, H/16, W/16)
        g_s       conv 1×1 · IGDN · deconv 5×5 ↑2 · IGDN · deconv 5×5 ↑2 · IGDN · deconv 9×9 ↑4

    The mask is not sent: the decoder sees a masked position as latents that were coded at their most likely value.
    """

    downsampling = 16
    g_a: nn.Sequential

    def __init__(self, N: int) -> None:
        super().__init__()
        features = nn.Sequential(
            conv(3, N, kernel=9, stride=4),
            GDN(N),
            conv(N, N, kernel=5, stride=2),
            GDN(N),
            conv(N, N, kernel=5, stride=2),
            GDN(N),
        )
        mask = ImportanceMask(N)
        self.g_a = nn.Sequential(*features, mask)
        self.latent_codec = FactorizedLatents(N)
        self.g_s = nn.Sequential(
            conv(N, N, kernel=1, stride=1),
            GDN(N, inverse=True),
            deconv(N, N, kernel=5, stride=2),
            GDN(N, inverse=True),
            deconv(N, N, kernel=5, stride=2),
            GDN(N, inverse=True),
            deconv(N, 3, kernel=9, stride=4),
        )
        start_as_klt([*features, mask.latents], self.g_s)
        self.started_near_goal = (*(f"g_a.{number}" for number in range(len(features))), "g_a.6.latents", "g_s")

    def forward(self, x: Tensor, r: Tensor | None = None) -> ModelOutput:
        features, importance = self._importance(x)
        y = self._mask.masked(features, importance)
        return self.output(self.latent_codec(y, r), importance)

    def importance(self, x: Tensor) -> Tensor:
        return self._importance(x)[1]

    def _importance(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f and P."""
        features = x
        for layer in self.g_a[:-1]:
            features = layer(features)
        return features, self._mask.importance(features)

    @property
    def _mask(self) -> ImportanceMask:
        mask = self.g_a[-1]
        assert isinstance(mask, ImportanceMask)
        return mask


def straight_through_mask(probability: Tensor) -> Tensor:
    """1 where `probability` exceeds ½, else 0; its gradient is taken to be that of `probability` itself."""
    mask = (probability > 0.5).to(probability.dtype)
    return mask + (probability - probability.detach()) if torch.is_grad_enabled() else mask
