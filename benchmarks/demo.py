"""Run the demo as a user does and keep what it reached; writes a table of one row.

Run from the root of the repository, about a minute on two idle cores:

    python benchmarks/demo.py --out benchmarks/results/demo.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import prunella


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def run_demo() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "prunella", "demo", "--quiet", "--out", f"{folder}/demo"],
            check=True,
        )
        seconds = time.perf_counter() - begin
        report = json.loads(Path(f"{folder}/demo/report.json").read_text())
    latency = {entry["batch"]: entry for entry in report["latency"]}
    accuracy = report["accuracy"]
    return {
        "seconds": f"{seconds:.1f}",
        "params_kept": f"{report['after']['params'] / report['before']['params']:.4f}",
        "macs_kept": f"{report['after']['macs'] / report['before']['macs']:.4f}",
        **{f"accuracy_{stage}": accuracy[stage] for stage in accuracy if stage != "samples"},
        **{f"speedup_batch_{batch}": f"{latency[batch]['speedup']:.3f}" for batch in latency},
        **{f"ms_before_batch_{b}": f"{1e3 * latency[b]['before'][1]:.2f}" for b in latency},
        **{f"ms_after_batch_{b}": f"{1e3 * latency[b]['after'][1]:.2f}" for b in latency},
        "disagreement_upper": f"{report['certificate']['disagreement_upper']:.4f}",
        "accuracy_drop_upper": f"{report['certificate']['accuracy_drop_upper']:.4f}",
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "prunella": prunella.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/demo.csv"))
    arguments = parser.parse_args()
    row = run_demo()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerow(row)
    for name, value in row.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
