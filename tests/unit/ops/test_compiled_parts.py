"""Models with compiled parts: the compiler must leave alone what watches the model."""

from __future__ import annotations

import subprocess
import sys

import torch
import torch._dynamo
from torch import nn

import prunella
from prunella.ops import fakes, watching


class Partly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)
        self.between = torch.compile(self.scaled, backend="eager")

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.between(self.first(x)))


def compiled_files() -> set[str]:
    """Files of the functions that the compiler has looked at."""
    seen = torch._dynamo.convert_frame.input_codes.seen
    return {code().co_filename for code in seen if code() is not None}


def test_a_model_with_a_compiled_function_is_pruned_and_no_rule_is_compiled():
    torch._dynamo.reset()
    model, x = Partly().eval(), torch.randn(1, 3, 8, 8)
    graph = prunella.trace(model, x)
    assert [group.name for group in graph.prunable] == ["first"]
    small = prunella.plan(graph, None, prunella.Params(0.5), "random").apply(model)
    assert small(x).shape == (1, 2, 6, 6)
    package = watching.__file__.rpartition("/ops/")[0]
    ours = {name for name in compiled_files() if name.startswith(package)}
    # the first call, which notices the compiler, and what gives tensors their device
    assert ours <= {watching.__file__, fakes.__file__}


def test_the_compiler_is_not_imported_for_a_trace():
    script = (
        "import sys, torch, prunella; net = torch.nn.Sequential(torch.nn.Linear(3, 4), "
        "torch.nn.Linear(4, 2)); prunella.trace(net, torch.zeros(1, 3)); "
        "print('torch._dynamo' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.strip() == "False", found.stderr
