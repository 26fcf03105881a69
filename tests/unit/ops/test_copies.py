"""`copy_module` gives what `copy.deepcopy` gives."""

from __future__ import annotations

import copy

import torch
from torch import nn

from prunella.ops import copy_module


class Odd(nn.Module):
    """References in all directions, containers of all kinds, tensors that are not registered."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(3, 3), nn.BatchNorm1d(3), nn.MultiheadAttention(4, 2)]
        )
        self.layers[1].weight = self.layers[0].bias
        self.first = [self.layers[0]]
        self.cache = {}
        self.same_cache = self.cache
        self.plain = torch.randn(2)
        self.sizes = [1, (2, 3)]
        self.names = {"a"}
        self.table = {"owner": self.first, ("k", 1): self.plain}
        self.hooked = self.layers[0].register_forward_hook(self.note)

    def note(self, module, args, out):
        self.cache[id(module)] = out.shape


def test_everything_is_copied_once():
    odd = Odd()
    found = copy_module(odd, {})
    assert type(found) is Odd
    assert found.layers[1].weight is found.layers[0].bias
    assert found.first[0] is found.layers[0] is not odd.layers[0]
    assert found.cache is found.same_cache is not odd.cache
    assert found.table["owner"] is found.first
    assert found.table["k", 1] is found.plain is not odd.plain
    assert torch.equal(found.plain, odd.plain)
    assert (found.sizes, found.names) == (odd.sizes, odd.names)
    assert found.sizes is not odd.sizes
    assert found.names is not odd.names
    found.layers[0](torch.zeros(1, 3))
    assert list(found.cache) == [id(found.layers[0])]
    assert odd.cache == {}
    mine, other = found.state_dict(), copy.deepcopy(odd).state_dict()
    assert list(mine) == list(other)
    assert all(torch.equal(mine[name], other[name]) for name in other)
    assert all(a is not b for a, b in zip(found.parameters(), odd.parameters(), strict=True))
    assert [p.requires_grad for p in found.parameters()] == [
        p.requires_grad for p in odd.parameters()
    ]


def test_what_is_known_stands_for_the_original():
    odd, weight = Odd(), nn.Parameter(torch.zeros(1))
    known = {id(odd.layers[0].weight): weight}
    found = copy_module(odd, known)
    assert found.layers[0].weight is weight
    assert known[id(odd.layers[2])] is found.layers[2]


def test_modules_with_their_own_way_are_asked():
    class Own(nn.Module):
        def __deepcopy__(self, memo):
            made = memo[id(self)] = Own()
            made.asked = True
            return made

    model = nn.Sequential(nn.Linear(2, 2), Own())
    known = {}
    found = copy_module(model, known)
    assert found[1].asked
    assert known[id(model[0])] is found[0] is not model[0]
    parametrized = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    again = copy_module(parametrized, {})
    x = torch.randn(4, 3)
    assert torch.equal(again(x), parametrized(x))
    assert (
        again.parametrizations.weight.original0
        is not parametrized.parametrizations.weight.original0
    )
