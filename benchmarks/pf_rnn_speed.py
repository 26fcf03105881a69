"""One training step of a maze localiser with PF-LSTM and PF-GRU: time and memory.

Run from the root of the repository, one thread, some minutes:

    git clone https://github.com/Yusufma03/pfrnns
    python benchmarks/pf_rnn_speed.py --public pfrnns --out benchmarks/results/pf-rnn-speed.csv

Implementations of the same step (forward, the published loss, backward, gradient clipping,
RMSprop; dropout 0; batch norm by particle slot, as in the public code):

- `public`: the public implementation as it is, `Localizer.step` of its `model.py`; only where
  `--public` says where it lies. It runs unchanged on a machine without CUDA.
- `tiled`: written for this comparison from the equations, in plain autograd, the input repeated for
  every particle.
- `prunella`: `unroll` and `published_localisation_loss`.
- `compiled`: the same through `torch.compile`, only with `--compiled`, and for few steps: the
  graph has them one after another, and compiling takes a minute for ten or so, not counted here.

All take their inputs from the public localiser's map and sensor layers where it is at hand,
else from noise of the same shape. Steps are timed in turns by processor time; `ms` is the median,
`ratio` the median over rounds of the other's time by prunella's of the same round. `peak_mb` is how
much the resident set of a process of its own grew at most during two steps (Linux).
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunella.recurrent import PFGRU, PFLSTM, published_localisation_loss

CELLS = {"PFLSTM": PFLSTM, "PFGRU": PFGRU}
INPUTS = 64  # of the recurrent network
Step = Callable[[], None]


class Tiled(nn.Module):
    """The equations in plain autograd: rows (k, b), the input repeated for every particle."""

    def __init__(self, cell: str, size: int, count: int) -> None:
        super().__init__()
        self.lstm, self.size, self.count = cell == "PFLSTM", size, count
        self.control, self.observation = nn.Linear(INPUTS, 32), nn.Linear(INPUTS, 32)
        self.score = nn.Linear(size + 32, 1)
        self.gates = nn.Linear(size + 32, (5 if self.lstm else 2) * size)
        self.candidate = nn.Linear(size + 32, 2 * size)
        self.norm = nn.BatchNorm1d(count)

    def drawn(self, mean: Tensor, spread: Tensor) -> Tensor:
        values = mean + F.softplus(spread) * torch.randn_like(mean)
        slots = values.view(self.count, -1, self.size).transpose(0, 1).contiguous()
        normed: Tensor = self.norm(slots)
        return F.leaky_relu(normed.transpose(0, 1).contiguous().view_as(values))

    def moved(self, states: tuple[Tensor, ...], control: Tensor) -> tuple[Tensor, ...]:
        hidden = states[0]
        gates = self.gates(torch.cat((hidden, control), 1)).chunk(5 if self.lstm else 2, 1)
        if self.lstm:
            forget, entry, out, mean, spread = gates
            memory = forget.sigmoid() * states[1] + entry.sigmoid() * self.drawn(mean, spread)
            return out.sigmoid() * memory.tanh(), memory
        keep, reset = gates[0].sigmoid(), gates[1].sigmoid()
        pair = self.candidate(torch.cat((reset * hidden, control), 1)).chunk(2, 1)
        return ((1 - keep) * self.drawn(*pair) + keep * hidden,)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # (B, T, D) -> (B, T, K, H), (B, T, K)
        batch, count = len(x), self.count
        tiled = x.repeat(count, 1, 1)
        states = tuple(torch.rand(count * batch, self.size) for _ in range(1 + self.lstm))
        logs = x.new_zeros(batch, count).log_softmax(1)
        all_states, all_logs = [], []
        for step in tiled.unbind(1):
            states = self.moved(states, F.leaky_relu(self.control(step)))
            seen = F.leaky_relu(self.observation(step))
            scores = self.score(torch.cat((states[0], seen), 1)).view(count, batch).t()
            logs = (logs + scores).log_softmax(1)
            proposal = 0.5 * logs.exp() + 0.5 / count
            ancestors = torch.multinomial(proposal, count, True)
            rows = (ancestors * batch + torch.arange(batch)[:, None]).t().flatten()
            states = tuple(state[rows] for state in states)
            logs = (logs - proposal.log()).gather(1, ancestors).log_softmax(1)
            all_states.append(states[0].view(count, batch, -1).transpose(0, 1))
            all_logs.append(logs)
        return torch.stack(all_states, 1), torch.stack(all_logs, 1)


def public_localiser(folder: Path, cell: str, args: argparse.Namespace) -> tuple[Any, Any]:
    """The public code's localiser with its own settings, and these settings."""
    sys.path.insert(0, str(folder))
    from model import Localizer  # type: ignore[import-not-found]

    settings = argparse.Namespace(
        model=cell, num_particles=args.particles, h=args.size, map_size=10, emb_map=64, emb_obs=32,
        emb_act=32, obs_num=5, dropout=0.0, resamp_alpha=0.5, bp_length=10, bpdecay=0.1,
        h_weight=0.1, l1_weight=0.0, l2_weight=1.0, elbo_weight=1.0,
    )  # fmt: skip
    return Localizer(settings), settings


def front(localiser: Any, maps: Tensor, seen: Tensor, moves: Tensor) -> Tensor:  # (B, T, 64)
    """Inputs of the recurrent network, by the public localiser's own layers."""
    plan = torch.relu(localiser.map_embedding(localiser.encode(maps).flatten(1)))
    observed = torch.relu(localiser.obs_embedding(seen)) * localiser.map2obs(plan).relu()[:, None]
    moved = torch.relu(localiser.act_embedding(moves)) * localiser.map2act(plan).relu()[:, None]
    return torch.cat((observed, moved), 2)


def stepped(parameters: list[nn.Parameter], loss: Callable[[], Tensor]) -> Step:
    """One step of RMSprop on a loss."""
    optimizer = torch.optim.RMSprop(parameters, lr=5e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(parameters, 3.0)
        optimizer.step()

    return step


def make_step(name: str, cell: str, args: argparse.Namespace) -> Step:
    """A training step of one implementation on fixed random data."""
    torch.manual_seed(0)
    batch, time_ = args.batch, args.steps
    maps, targets = torch.randn(batch, 1, 10, 10), torch.rand(batch, time_, 3)
    seen, moves = torch.rand(batch, time_, 5), torch.randn(batch, time_, 3)
    noise = torch.randn(batch, time_, INPUTS)
    localiser, settings = public_localiser(args.public, cell, args) if args.public else (None, None)
    if name == "public":
        assert localiser is not None
        return stepped(
            list(localiser.parameters()),
            lambda: localiser.step(maps, seen, moves, targets, settings)[0],
        )
    if name == "tiled":
        network: nn.Module = Tiled(cell, args.size, args.particles)
    else:
        network = CELLS[cell](INPUTS, args.size, args.particles, norm="slot")
    head = nn.Linear(args.size, 3)
    scale = torch.tensor([10.0, 10.0, 2 * torch.pi])

    unroll = network.unroll if isinstance(network, PFLSTM | PFGRU) else None
    if name == "compiled":
        unroll = torch.compile(unroll, fullgraph=True)

    def loss() -> Tensor:
        x = noise if localiser is None else front(localiser, maps, seen, moves)
        if unroll is None:
            particles, logs = network(x)
            means = (logs.exp().unsqueeze(2) @ particles).squeeze(2)
        else:
            trajectory, _ = unroll(x)
            particles, means = trajectory.particles, trajectory.means()
        return published_localisation_loss(
            head(means).sigmoid(), head(particles).sigmoid(), targets / scale
        ).total

    modules = [network, head] + ([localiser] if localiser is not None else [])
    used = [p for module in modules for p in module.parameters()]
    return stepped(used, loss)


def peak_mb(name: str, cell: str, args: argparse.Namespace) -> float:
    """Growth of the resident set of this process during two steps; run in a process of its own."""
    step = make_step(name, cell, args)
    before = highest_mb()
    step()
    step()
    return highest_mb() - before


def highest_mb() -> float:
    """Largest resident set of this process so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measured(cell: str, names: list[str], args: argparse.Namespace) -> list[dict[str, object]]:
    steps = {name: make_step(name, cell, args) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(args.rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if turn:  # the first is to warm up
                times[name].append(time.process_time() - start)
    rows: list[dict[str, object]] = []
    for name in names:
        peak: float | str = ""  # of a compiled step it would be the compiler's
        if name != "compiled":
            command = [sys.executable, __file__, "--memory", name, cell, *sys.argv[1:]]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            peak = round(float(done.stdout))
        ratios = [a / b for a, b in zip(times[name], times["prunella"], strict=True)]
        rows.append({
            "cell": cell, "implementation": name, "batch": args.batch, "steps": args.steps,
            "particles": args.particles, "hidden": args.size, "rounds": args.rounds,
            "ms": round(1e3 * statistics.median(times[name])),
            "ratio": round(statistics.median(ratios), 2),
            "ratio_lowest": round(min(ratios), 2), "ratio_highest": round(max(ratios), 2),
            "peak_mb": peak,
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/pf-rnn-speed.csv"))
    parser.add_argument("--public", type=Path, help="a checkout of Yusufma03/pfrnns")
    parser.add_argument("--compiled", action="store_true", help="through torch.compile, too")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--particles", type=int, default=30)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory:
        print(peak_mb(*args.memory, args))
        return
    names = ["prunella", "tiled"]
    names += ["public"] * bool(args.public) + ["compiled"] * args.compiled
    rows = [row for cell in CELLS for row in measured(cell, names, args)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
