"""Made-up reports: whole, with nothing optional, sobering, large, and hostile."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from prunella.core.beliefs import BeliefWalk, SequenceReport
from prunella.core.certificates import Certificate
from prunella.core.results import (
    Accuracies,
    Corrupted,
    LayerReport,
    Report,
    Robustness,
    RunTimes,
)
from prunella.core.types import Cost
from prunella.core.walks import SHARES, Step, Walk

# Group, channels, share to keep, reason; the three streams first appear where a stage starts.
_GROUPS = (
    ("input", 1, 1.0, "the channels of the input are given from outside"),
    ("layer1 (residual stream)", 16, 0.81, ""),
    ("layer1.0.conv1", 16, 0.69, ""),
    ("layer1.1.conv1", 16, 0.56, ""),
    ("layer1.2.conv1", 16, 0.75, ""),
    ("layer2 (residual stream)", 32, 0.84, ""),
    ("layer2.0.conv1", 32, 0.78, ""),
    ("layer2.1.conv1", 32, 0.59, ""),
    ("layer2.2.conv1", 32, 0.5, ""),
    ("layer3 (residual stream)", 64, 0.78, ""),
    ("layer3.0.conv1", 64, 0.7, ""),
    ("layer3.1.conv1", 64, 0.41, ""),
    ("layer3.2.conv1", 64, 0.22, ""),
    ("fc.out", 10, 1.0, "the outputs of the network are read from outside"),
)


def layer(name: str, size: int, share: float, reason: str, generator: random.Random) -> LayerReport:
    """A layer whose highest scores are kept."""
    if reason:
        return LayerReport(name=name, kept=(True,) * size, scores=(), reason=reason)
    spread = 0.4 + 0.8 * (1 - share)
    scores = tuple(min(1.0, generator.lognormvariate(-1.6, spread)) for _ in range(size))
    border = sorted(scores, reverse=True)[max(1, round(share * size)) - 1]
    return LayerReport(
        name=name, kept=tuple(score >= border for score in scores), scores=scores, reason=""
    )


def complete_report() -> Report:
    """A ResNet-20 with everything that a report can hold."""
    generator = random.Random(7)
    return Report(
        title="resnet20 on fashion-mnist",
        created="2026-05-12T14:03:27+00:00",
        command=(
            "prunella prune prunella.networks:resnet20 --weights resnet20.safetensors "
            "--data fashion-mnist --params 0.45 --certify 4000 --epochs 6 --seed 7 --out runs/demo"
        ),
        method="pfp",
        requested="at most 45 % of the parameters",
        before=Cost(params=272_186, macs=40_551_040, bytes=1_095_720),
        after=Cost(params=121_874, macs=19_104_512, bytes=493_208),
        layers=tuple(layer(*group, generator) for group in _GROUPS),
        accuracy=Accuracies(
            original=0.9165,
            after_cut=0.7435,
            after_repair=0.8840,
            after_retrain=0.9125,
            samples=2_000,
        ),
        latency=(
            RunTimes(
                batch=1,
                runs=200,
                before=(0.00158, 0.00161, 0.00169),
                after=(0.00131, 0.00134, 0.00142),
                speedup=1.20,
            ),
            RunTimes(
                batch=16,
                runs=100,
                before=(0.01012, 0.01031, 0.01088),
                after=(0.00668, 0.00681, 0.00735),
                speedup=1.51,
            ),
            RunTimes(
                batch=64,
                runs=60,
                before=(0.03890, 0.03942, 0.04105),
                after=(0.02398, 0.02433, 0.02561),
                speedup=1.62,
            ),
        ),
        certificate=Certificate(
            alpha=0.05,
            delta=0.01,
            n=4_000,
            disagreement=0.0413,
            disagreement_upper=0.0494,
            accuracy_drop=0.0038,
            accuracy_drop_upper=0.0117,
            logit_error_bound=0.2184,
            samples_digest="sha256:3f1c9be2a7d04e55b8617d2f9a1c6e0b42d7",
            original_digest="sha256:a90e14cc7be3f5520f6d88a1b5c90e37d412",
            small_digest="sha256:07d3e8f1b6a24c99e5d1730c4bfa6e8192cd",
            assumptions=(
                "The certification samples were drawn independently from the same source as the "
                "samples that the network will meet.",
                "They were used for nothing else: not for training, calibration or the choice of "
                "this network.",
            ),
        ),
        training={
            "epoch": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
            "loss": (0.6127, 0.4316, 0.3588, 0.2971, 0.2493, 0.2284),
            "accuracy": (0.8712, 0.8895, 0.8960, 0.9045, 0.9110, 0.9125),
        },
        environment={
            "prunella": "0.1.0",
            "Python": "3.11.7",
            "PyTorch": "2.13.0+cpu",
            "Device": "cpu, 2 threads",
            "Processor": "x86_64, 2 cores",
            "Seed": "7",
            "Data": "sha256:5be1f2d07c7f4e1f8d2a8e7f0f6f1f0aab8f1c6f3e2f4f0f8d9c4f7f6f3b1a20",
        },
        config=(
            "model: prunella.networks:resnet20\nmethod: pfp\nbudget:\n  params: 0.45\n"
            "calibration:\n  samples: 512\ncertification:\n  samples: 4000\n  alpha: 0.05\n"
            "  delta: 0.01\nretrain:\n  epochs: 6\n  learning_rate: 0.05\nseed: 7\n"
        ),
        files={
            "model.safetensors": "the small network and the plan it was made with",
            "certificate.json": "the certificate",
            "config.yaml": "the resolved configuration",
            "report.json": "the numbers of this page",
        },
        notes=(
            "The two shortcuts between stages tie nothing: they pad with zeros.",
            "Batch norm statistics were estimated again on the calibration samples.",
        ),
        reached=True,
    )


def minimal_report() -> Report:
    """Only what every report has."""
    return Report(
        title="network",
        created="",
        command="",
        method="uniform",
        requested="at most 50 % of the multiply-adds",
        before=Cost(params=0, macs=0, bytes=0),
        after=Cost(params=0, macs=0, bytes=0),
        layers=(),
        accuracy=Accuracies(),
        latency=(),
        certificate=None,
        training={},
        environment={},
        config="",
        files={},
        notes=(),
    )


def sobering_report() -> Report:
    """Slower, over budget, and retraining did harm; the certificate had no labels."""
    report = complete_report()
    assert report.certificate is not None
    slow = replace(report.latency[2], after=(0.04300, 0.04376, 0.04501), speedup=0.90, batch=64)
    return replace(
        report,
        reached=False,
        after=Cost(params=160_221, macs=28_000_111, bytes=650_000),
        accuracy=Accuracies(original=0.9165, after_cut=0.88, after_repair=0.91, after_retrain=0.9),
        latency=(report.latency[0], slow),
        certificate=replace(
            report.certificate,
            accuracy_drop=None,
            accuracy_drop_upper=None,
            logit_error_bound=None,
            n=60,
        ),
        training={"loss": (0.5, float("nan"), float("inf"))},
    )


_TESTS = (  # share, observed and bound in points
    (0.7, 0.2, 0.87), (0.65, 0.1, 0.86), (0.6, 0.45, 1.29), (0.55, -0.1, 1.2), (0.5, 0.4, 1.49),
    (0.475, 1.0, 2.0), (0.45, 0.95, 1.99), (0.425, 1.2, 2.34),
)  # fmt: skip


def walk_report() -> Report:
    """As above, of a search for the smallest network that began below the largest candidates."""
    report = complete_report()
    steps = tuple(
        Step(
            share=share,
            cost=Cost(params=int(272_186 * share), macs=int(4e7 * share), bytes=1),
            observed=observed / 100,
            upper=upper / 100,
            delta=0.009,
            passed=upper <= 2,
        )
        for share, observed, upper in _TESTS
    )
    walk = Walk(
        risk="accuracy_drop", unit="parameters", alpha=0.02, delta=0.01, samples=4000,
        shares=SHARES, start=5, steps=steps, chosen=0.45,
    )  # fmt: skip
    rows = (
        Corrupted(name="as they are", disagreement=0.03, original=0.93, small=0.925),
        Corrupted(name="noise", disagreement=0.11, original=None, small=None),
    )
    robustness = Robustness(samples=500, rows=rows)
    return replace(report, walk=walk, requested=walk.requested, robustness=robustness)


def large_report() -> Report:
    """200 layers of 2,048 channels."""
    generator = random.Random(1)
    layers = tuple(
        layer(f"features.denseblock{i // 20}.denselayer{i}.conv1", 2048, 0.5, "", generator)
        for i in range(200)
    )
    return replace(complete_report(), layers=layers)


def hostile_report() -> Report:
    """Every text is markup, and every number that may be odd is."""
    bad = '</script><script>alert(1)</script><!--<b a="\'">&amp;var(--ink)'
    report = walk_report()
    assert report.certificate is not None
    assert report.walk is not None
    open_layer = LayerReport(name=bad, kept=(True, False), scores=(float("nan"), 1.0), reason="")
    return replace(
        report,
        title=bad,
        created=bad,
        command=bad,
        method=bad,
        requested=bad,
        layers=(open_layer, replace(open_layer, reason=bad)),
        certificate=replace(report.certificate, assumptions=(bad,), samples_digest=bad),
        training={bad: (1.0, 0.5)},
        environment={bad: bad},
        config=bad,
        files={bad: bad},
        notes=(bad, "\udcff"),
        walk=replace(report.walk, unit=bad),
        robustness=Robustness(
            samples=1, rows=(Corrupted(name=bad, disagreement=0, original=None, small=None),)
        ),
    )


def belief_walk(steps: int = 3, count: int = 4) -> BeliefWalk:
    """A walk to the right through a map of 3 x 2 cells."""
    return BeliefWalk(
        name="walk 1",
        truth=tuple((0.5 + 0.1 * t, 0.5) for t in range(steps)),
        headings=tuple(90.0 for _ in range(steps)),
        mean=tuple((0.6 + 0.1 * t, 0.5) for t in range(steps)),
        particles=tuple(
            tuple((0.1 * k, 0.2 * t) for k in range(count)) for t in range(steps)
        ),
        weights=tuple(tuple((2 * k + 1) / count**2 for k in range(count)) for _ in range(steps)),
        effective=tuple(1.5 + t for t in range(steps)),
    )  # fmt: skip


def sequence_report(**changes: Any) -> SequenceReport:
    """A training on two sides of a wall."""
    values = {
        "title": "maze10: where am I",
        "lead": "It found the way.",
        "facts": (("Network", "PF-LSTM"), ("Seed", "0")),
        "curves": {"epoch": [1.0, 2.0], "loss, training": [3.0, 2.5]},
        "best": 2,
        "cells": ((0, 2, 2), (0, 0, 1)),
        "walks": (belief_walk(),),
        "created": "2026-01-02T03:04:05+00:00",
        "command": "prunella train --task maze10",
    }
    return SequenceReport(**{**values, **changes})
