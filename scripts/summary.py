"""Say in a few lines what the workflow made and where to look."""

import json
from pathlib import Path

REPORTS = Path("data/05_reports")


def main() -> None:
    model = json.loads((REPORTS / "evaluation/metrics.json").read_text())["model"]
    registration = json.loads((REPORTS / "registration.json").read_text())
    print(
        f"{registration['name']} version {registration['version']}: {model['bpp']:.3f} bpp, {model['psnr']:.2f} dB, "
        f"MS-SSIM {model['ms_ssim']:.4f} on the test pictures; {registration['reason']}"
    )
    print(f"Pictures: {REPORTS}/evaluation/pictures.png   Curves: {REPORTS}/evaluation/rd_curve.png   Runs: make ui")


if __name__ == "__main__":
    main()
