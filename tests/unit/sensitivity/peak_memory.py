"""Run a forward pass and then a sensitivity pass, and print how much each took at most, in bytes.

python peak_memory.py NETWORK MEMORY
"""

import sys
from pathlib import Path

import torch
from torch import nn

import prunella
from prunella.sensitivity import compiled, kernels


def memory(field):
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise LookupError(field)


def peak(job):
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget earlier peaks
    before = memory("VmRSS")
    job()
    return memory("VmHWM") - before


def network(name):
    if name == "large maps":
        layers = nn.Conv2d(3, 32, 3, padding=1), nn.GELU(), nn.Conv2d(32, 32, 3, padding=1)
        return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(32, 4, 3)), torch.randn(16, 3, 128, 128)
    layers = nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 6000), nn.ReLU(), nn.Linear(6000, 4)
    return nn.Sequential(*layers), torch.randn(64, 64)


def main():
    torch.set_num_threads(1)
    model, x = network(sys.argv[1])
    graph = prunella.trace(model, x[:1])
    if compiled.available():
        kernels.COMPILE_FROM = 0
    # What is imported and compiled once is no part of a pass.
    small = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    small_x = torch.randn(2, 2)
    prunella.sensitivities(small, prunella.trace(small, small_x[:1]), [small_x])
    convolutions = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.GELU(), nn.Conv2d(2, 2, 3, padding=1)
    )
    small_x = torch.randn(2, 1, 8, 8)
    prunella.sensitivities(convolutions, prunella.trace(convolutions, small_x[:1]), [small_x])
    with torch.no_grad():
        model(x[:8])
        forward = peak(lambda: model(x[:8]))
    whole = peak(lambda: prunella.sensitivities(model, graph, [x], memory=int(sys.argv[2])))
    print(forward, whole)


main()
