"""List the smallest model of each of timm's families; needs minutes, no weights.

Run from the root of the repository:

    python scripts/list_timm_families.py --out benchmarks/timm-families.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from _vision import timm


def parameters(name: str) -> int:
    """Number of parameters, without setting memory aside where the model allows that."""
    try:
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        model = timm.create_model(name, pretrained=False)
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/timm-families.csv"))
    arguments = parser.parse_args()
    rows = []
    for family in timm.list_modules():
        # The models for timm's own tests are smaller still, but nobody's.
        models = [n for n in timm.list_models(module=family) if not n.startswith("test_")]
        if models:
            smallest = min(models, key=lambda name: (parameters(name), name))
            rows.append((family, smallest, parameters(smallest)))
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("family", "model", "parameters"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
