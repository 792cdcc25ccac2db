"""`balle`, the baseline of the comparison; `balle-encoder` and `balle-encoder-5`, the baseline with deeper transforms."""

from torch import nn

from balle_li.latents.factorized import FactorizedLatents
from balle_li.models.base import CompressionModel, register_model
from balle_li.models.klt import start_as_klt
from balle_li.models.layers import GDN, conv, deconv


@register_model("balle")
class Balle(CompressionModel):
    """Ballé, Laparra & Simoncelli (2017), "End-to-end optimized image compression": bls2017.

                 ┌─────┐        ┌─────────────────────┐          ┌─────┐
        x ──────►│ g_a ├── y ──►│ factorized latents  ├─ y_hat ─►│ g_s ├──────► x_hat
                 └─────┘        └──────────┬──────────┘          └─────┘
                                      likelihoods

        x      (B, 3, H, W)
        g_a    conv 9×9 ↓4 · GDN · conv 5×5 ↓2 · GDN · conv 5×5 ↓2
        y      (B, N, H/16, W/16)
        g_s    deconv 5×5 ↑2 · IGDN · deconv 5×5 ↑2 · IGDN · deconv 9×9 ↑4

    Graham & Decoto (2019) take it with N = 128 as their "Baseline Ballé".
    """

    downsampling = 16
    started_near_goal = ("g_a", "g_s")
    g_a: nn.Sequential
    g_s: nn.Sequential

    def __init__(self, N: int) -> None:
        super().__init__()
        self.g_a = nn.Sequential(
            conv(3, N, kernel=9, stride=4),
            GDN(N),
            conv(N, N, kernel=5, stride=2),
            GDN(N),
            conv(N, N, kernel=5, stride=2),
        )
        self.latent_codec = FactorizedLatents(N)
        self.g_s = nn.Sequential(
            deconv(N, N, kernel=5, stride=2),
            GDN(N, inverse=True),
            deconv(N, N, kernel=5, stride=2),
            GDN(N, inverse=True),
            deconv(N, 3, kernel=9, stride=4),
        )
        start_as_klt(self.g_a, self.g_s)


@register_model("balle-encoder")
class BalleEncoder(Balle):
    """ "Balle Encoder" of Graham & Decoto (2019): a fourth stage halves the latents' sides once more.

        x      (B, 3, H, W)
        g_a    conv 9×9 ↓4 · GDN · conv 5×5 ↓2 · GDN · conv 5×5 ↓2 · GDN · conv 5×5 ↓2
        y      (B, N, H/32, W/32)
        g_s    deconv 5×5 ↑2 · IGDN · deconv 5×5 ↑2 · IGDN · deconv 5×5 ↑2 · IGDN · deconv 9×9 ↑4

    The signal flows as in `Balle`.
    """

    downsampling = 32

    def __init__(self, N: int) -> None:
        super().__init__(N)
        self.g_a.extend([GDN(N), conv(N, N, kernel=5, stride=2)])
        self.g_s = nn.Sequential(deconv(N, N, kernel=5, stride=2), GDN(N, inverse=True), *self.g_s)
        start_as_klt(self.g_a, self.g_s)


@register_model("balle-encoder-5")
class BalleEncoder5(BalleEncoder):
    """The second variation of "Balle Encoder": a fifth 5×5 stage, of stride 1, between the fourth and the latents.

    x      (B, 3, H, W)
    g_a    conv 9×9 ↓4 · GDN · conv 5×5 ↓2 · GDN · conv 5×5 ↓2 · GDN · conv 5×5 ↓2 · GDN · conv 5×5
    y      (B, N, H/32, W/32)
    g_s    deconv 5×5 · IGDN · deconv 5×5 ↑2 · IGDN · deconv 5×5 ↑2 · IGDN · deconv 5×5 ↑2 · IGDN · deconv 9×9 ↑4
    """

    def __init__(self, N: int) -> None:
        super().__init__(N)
        self.g_a.extend([GDN(N), conv(N, N, kernel=5, stride=1)])
        self.g_s = nn.Sequential(deconv(N, N, kernel=5, stride=1), GDN(N, inverse=True), *self.g_s)
        start_as_klt(self.g_a, self.g_s)
