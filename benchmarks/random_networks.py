"""Cut random networks of all kinds of operations, and compare each with its masked original.

    python benchmarks/random_networks.py --count 10000 --out benchmarks/results/random-networks.json

Network number n is drawn with seed n, so that each failure can be drawn again. A run that is
stopped goes on where it was: the file is written after every hundred networks.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "generators"))

import prunella
from random_networks import check, draw_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="seed of the first network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = _found_before(options.out, options.first) or {
        "first_seed": options.first, "networks": 0, "with_something_to_cut": 0, "operations": 0,
        "prunable_groups": 0, "units_removed": 0, "largest_difference": 0.0,
        "networks_with_kind": {}, "failures": [], "seconds": 0.0,
        "torch": torch.__version__, "python": platform.python_version(),
        "prunella": prunella.__version__,
    }  # fmt: skip
    while found["networks"] < options.count:
        start = time.monotonic()
        for _ in range(min(100, options.count - found["networks"])):
            _one(found)
        found["seconds"] = round(found["seconds"] + time.monotonic() - start, 1)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{found['networks']} networks, {len(found['failures'])} failures")
    sys.exit(bool(found["failures"]))


def _found_before(path: Path, first: int) -> dict[str, Any] | None:
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found if found.get("first_seed") == first else None


def _one(found: dict[str, Any]) -> None:
    """Draw, cut and compare the next network, and add it to what was found."""
    seed = found["first_seed"] + found["networks"]
    found["networks"] += 1
    try:
        outcome = check(draw_network(random.Random(seed)))
    except Exception as error:  # whatever goes wrong is what is looked for
        found["failures"].append({"seed": seed, "error": f"{type(error).__name__}: {error}"[:300]})
        return
    found["with_something_to_cut"] += outcome.removed > 0
    found["operations"] += outcome.operations
    found["prunable_groups"] += outcome.prunable
    found["units_removed"] += outcome.removed
    found["largest_difference"] = max(found["largest_difference"], outcome.difference)
    kinds = Counter(found["networks_with_kind"]) + Counter(outcome.kinds)
    found["networks_with_kind"] = dict(sorted(kinds.items()))


if __name__ == "__main__":
    main()
