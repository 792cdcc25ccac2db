"""Say in a few lines what the workflow made and where to look."""

import json
from pathlib import Path

REPORTS = Path("data/05_reports")


def main() -> None:
    metrics = json.loads((REPORTS / "evaluation/metrics.json").read_text())
    model = metrics["model"]
    known = [facts for facts in metrics["metrics"] if model[facts["name"]] is not None]
    figures = [
        f"{facts['title']} {model[facts['name']]:.{facts['digits']}f} {facts['unit']}".strip() for facts in known
    ]
    registration = json.loads((REPORTS / "registration.json").read_text())
    print(
        f"{registration['name']} version {registration['version']}: {model['bpp']:.3f} bpp, {', '.join(figures)} "
        f"on the test pictures; {registration['reason']}"
    )
    for baseline in metrics["baselines"].values():
        print(baseline["verdict"])
    print(f"Report: {REPORTS}/report/report.html   Pictures: {REPORTS}/report/pictures.png   Runs: make ui")


if __name__ == "__main__":
    main()
