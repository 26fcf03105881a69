"""Make the golden files of the version that this prunella writes: see README.md.

    python tests/golden/make.py

Writes a folder named after the present versions and refuses to touch one that exists.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

import prunella
from prunella.core import certificates
from prunella.core.results import Accuracies, LayerReport, Report, RunTimes
from prunella.files import plans
from prunella.files.models import FORMAT_VERSION
from prunella.report import load, to_json

HERE = Path(__file__).parent


class Golden(nn.Module):
    """A shortcut, a concatenation, a depthwise convolution, a flattening and tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.block = nn.Conv2d(6, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.left = nn.Conv2d(6, 4, 1)
        self.right = nn.Conv2d(6, 4, 1)
        self.hidden = nn.Linear(8 * 4, 6)
        self.again = nn.Linear(6, 6)
        self.twice = nn.Linear(6, 6)
        self.twice.weight = self.again.weight
        self.last = nn.Linear(6, 3)
        self.register_buffer("gain", torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.block(x))
        x = torch.relu(self.depthwise(x))
        x = torch.cat([self.left(x), torch.sigmoid(self.right(x))], 1) * self.gain
        x = torch.relu(self.hidden(nn.functional.max_pool2d(x, 2).flatten(1)))
        return self.last(torch.tanh(self.twice(torch.tanh(self.again(x)))))


def inputs() -> torch.Tensor:
    """Three samples, by a formula, so that no generator of random numbers has to stay the same."""
    return torch.sin(torch.arange(3 * 2 * 4 * 4, dtype=torch.float32)).reshape(3, 2, 4, 4)


def fill(model: nn.Module) -> None:
    """Give every parameter and buffer values by a formula."""
    with torch.no_grad():
        named = (*model.named_parameters(), *model.named_buffers())
        for number, (name, tensor) in enumerate(named):
            if tensor.dtype.is_floating_point:
                steps = torch.arange(tensor.numel(), dtype=torch.float32) + 7 * number
                values = 0.5 * torch.sin(1.7 * steps + 0.1 * steps**2)
                values = 1 + values if name.endswith("running_var") else values
                tensor.copy_(values.reshape(tensor.shape))


def report(plan: prunella.Plan, certificate: prunella.Certificate) -> Report:
    """A report with every kind of entry."""
    return Report(
        title="golden on made-up samples",
        created="2026-01-02T03:04:05+00:00",
        command="prunella prune --config config.yaml",
        method=plan.method,
        requested="at most 60 % of the parameters",
        before=plan.original,
        after=plan.achieved,
        layers=tuple(
            LayerReport(
                name=group.name,
                kept=tuple(unit in plan.kept.get(group.name, range(group.size))
                           for unit in range(group.size)),
                scores=tuple(0.125 * unit for unit in range(group.size)) if group.prunable else (),
                reason=group.reason,
            )
            for group in plan.graph.groups
        ),
        accuracy=Accuracies(original=0.75, after_cut=0.5, after_retrain=0.625, samples=8),
        latency=(
            RunTimes(batch=1, runs=9, before=(0.3, 0.5, 0.75), after=(0.2, 0.25, 0.5), speedup=2.0),
        ),
        certificate=certificate,
        training={"epoch": (1.0, 2.0), "loss": (0.5, float("inf"))},
        environment={"seed": "3"},
        config="network: golden\n",
        files={"pruned.safetensors": "the small network"},
        notes=("A note.",),
        reached=True,
    )  # fmt: skip


def present() -> str:
    """The name of the folder for the versions that this prunella writes."""
    versions = {
        "format": FORMAT_VERSION,
        "plan": plans.SCHEMA_VERSION,
        "certificate": certificates.SCHEMA_VERSION,
        "report": load.SCHEMA_VERSION,
    }
    return "-".join(f"{name}-{version}" for name, version in versions.items())


def main() -> None:
    """Write the files of the present versions."""
    folder = HERE / present()
    if folder.exists():
        sys.exit(f"{folder} exists; golden files are never made again.")
    model = Golden().eval()
    fill(model)
    graph = prunella.trace(model, torch.zeros(1, 2, 4, 4))
    calibration = [torch.cos(inputs() + turn) for turn in range(2)]
    scores = prunella.sensitivities(model, graph, calibration)
    plan = prunella.plan(graph, scores, prunella.Params(0.6), "pfp-random", seed=3)
    times = RunTimes(batch=2, runs=5, before=(0.3, 0.5, 0.6), after=(0.1, 0.2, 0.3), speedup=2.5)
    plan = replace(plan, latency=times)
    small = plan.apply(model).eval()
    with torch.no_grad():
        small.last.bias.add_(0.25)  # as after training
        outputs = small(inputs())
    held_out = [(torch.sin(inputs() + turn), torch.arange(3)) for turn in range(1, 51)]
    certificate = prunella.certify(
        model,
        small,
        held_out,
        per_class=True,
        top_k=2,
        losses={"miss": lambda logits, labels: (logits.argmax(1) != labels).float()},
        layers=plan,
        used=(plan.samples,),
    )
    prunella.save(folder / "pruned.safetensors", small, plan)
    (folder / "certificate.json").write_text(certificate.to_json() + "\n")
    (folder / "report.json").write_text(to_json(report(plan, certificate)))
    expected = {
        "outputs": outputs.tolist(),
        "method": plan.method,
        "seed": plan.seed,
        "fraction": 0.6,
        "samples": plan.samples.count,
        "samples_digest": plan.samples.digest,
        "kept": {name: units.tolist() for name, units in plan.kept.items()},
        "scales": {name: values.tolist() for name, values in plan.scales.items()},
        "frozen": {group.name: group.reason for group in graph.groups if not group.prunable},
        "original": [plan.original.params, plan.original.macs, plan.original.bytes],
        "achieved": [plan.achieved.params, plan.achieved.macs, plan.achieved.bytes],
        "statement": certificate.statement,
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
