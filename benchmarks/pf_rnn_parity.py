"""One step of the public PF-LSTM and PF-GRU and of prunella's, from the same weights and draws.

Run from the root of the repository, seconds:

    git clone https://github.com/Yusufma03/pfrnns
    python benchmarks/pf_rnn_parity.py --public pfrnns --out benchmarks/results/pf-rnn-parity.csv

The public cells are not changed; their noise and ancestors are handed in for the step. Both are
float32, batch norm by particle slot in training. Written are the largest differences of states,
log-weights and running variances.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from prunella.recurrent import PFGRU, PFLSTM, Belief, resample, reweight
from prunella.recurrent.norm import normalisers, record

BATCH, COUNT, INPUT, SIZE = 16, 10, 12, 24


def by_sequence(rows: Tensor) -> Tensor:  # (K * B, H) -> (B, K, H)
    return rows.view(COUNT, BATCH, -1).transpose(0, 1)


def weights_of(public: Any, lstm: bool) -> dict[str, Tensor]:
    """The public cell's weights under prunella's names."""
    control, seen, score = public.act_extractor[0], public.obs_extractor[0], public.fc_obs
    named = {
        "control.weight": control.weight, "control.bias": control.bias,
        "observation.weight": seen.weight, "observation.bias": seen.bias,
        "score.weight": score.weight, "score.bias": score.bias,
    }  # fmt: skip
    if lstm:  # its score takes the observation first
        named["score.weight"] = torch.cat((score.weight[:, 32:], score.weight[:, :32]), 1)
        named["input_gates.weight"], named["input_gates.bias"] = public.fc_ih.parameters()
        named["hidden_gates.weight"], named["hidden_gates.bias"] = public.fc_hh.parameters()
    else:
        layers = (public.fc_z, public.fc_r, public.fc_n)
        named["input_gates.weight"] = torch.cat([layer.weight[:, SIZE:] for layer in layers])
        named["input_gates.bias"] = torch.cat([layer.bias for layer in layers])
        named["hidden_gates.weight"] = torch.cat([layer.weight[:, :SIZE] for layer in layers[:2]])
        named["hidden_candidate.weight"] = layers[2].weight[:, :SIZE]
    norm = public.batch_norm
    named |= {"norm.weight": norm.weight, "norm.bias": norm.bias}
    return {name: value.detach().clone() for name, value in named.items()}


def compared(public: Any, ours: PFLSTM | PFGRU) -> dict[str, object]:
    lstm = isinstance(ours, PFLSTM)
    assert not ours.load_state_dict(weights_of(public, lstm), strict=False).unexpected_keys
    rows = COUNT * BATCH
    hidden, memory, noise = torch.rand(rows, SIZE), torch.rand(rows, SIZE), torch.randn(rows, SIZE)
    logs = torch.randn(COUNT, BATCH, 1).log_softmax(0).view(-1, 1)
    x = torch.randn(BATCH, INPUT)
    before = Belief(
        particles=by_sequence(hidden), log_weights=by_sequence(logs)[..., 0],
        memory=by_sequence(memory) if lstm else None,
    )  # fmt: skip
    gates, scores = ours._of_inputs(x.unsqueeze(0))
    norms = normalisers(ours.norm, before, [BATCH])
    moved = ours._transition(before, gates[0], by_sequence(noise), norms[0])
    record(ours.norm, norms, first=0)
    filtered = reweight(moved.log_weights, ours._scores(moved.particles, scores[0]))
    moved = Belief(particles=moved.particles, log_weights=filtered)
    children, ancestors = resample(moved, torch.rand(BATCH, COUNT), alpha=0.5)

    def noisy(mean: Tensor, spread: Tensor) -> Tensor:
        return mean + noise * F.softplus(spread)

    state = (hidden, memory, logs) if lstm else (hidden, logs)
    with (
        mock.patch.object(public, "reparameterize", noisy),
        mock.patch.object(torch, "multinomial", return_value=ancestors),
    ):
        found = public(x.repeat(COUNT, 1), state)

    def largest(one: Tensor, other: Tensor) -> str:
        return f"{(one - other).abs().max().item():.1e}"

    assert ours.norm is not None
    # Public running variances are 0.9 of the 1 that they begin with and 0.1 of what was seen.
    seen = (public.batch_norm.running_var - 0.9) / 0.1
    return {
        "cell": type(ours).__name__,
        "states": largest(by_sequence(found[0]), children.particles),
        "log_weights": largest(by_sequence(found[-1])[..., 0], children.log_weights),
        "running_var": largest(seen, ours.norm.running_var[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/pf-rnn-parity.csv"))
    parser.add_argument("--public", type=Path, help="a checkout of Yusufma03/pfrnns")
    args = parser.parse_args()
    if args.public is None:
        print("Nothing is compared: --public does not say where a checkout of pfrnns lies.")
        return
    sys.path.insert(0, str(args.public))
    import pfrnns  # type: ignore[import-not-found]

    torch.manual_seed(0)
    rows = [
        compared(
            public(COUNT, INPUT, SIZE, 32, 32, 0.5),
            cell(INPUT, SIZE, COUNT, norm="slot", norm_steps=1),
        )
        for public, cell in ((pfrnns.PFLSTMCell, PFLSTM), (pfrnns.PFGRUCell, PFGRU))
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
