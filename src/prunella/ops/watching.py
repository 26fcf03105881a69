"""Standing between a model and the ATen calls that it makes."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch._C._dynamo.eval_frame import get_eval_frame_callback
from torch._compile import _disable_dynamo
from torch.utils._python_dispatch import TorchDispatchMode


class CallWatcher(TorchDispatchMode):
    """Sees every ATen call of what runs inside of it, and answers for it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not from the start: it imports the compiler, which takes longer than most models."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # Where a compiler is at work by now, it must not compile what runs in here.
        if "torch._dynamo" in sys.modules and get_eval_frame_callback() is not None:
            return _not_compiled(self, func, types, args, kwargs)
        return self.answer(func, args, kwargs or {})

    @abstractmethod
    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call; calls made here are not seen again."""


@_disable_dynamo
def _not_compiled(
    watcher: CallWatcher,
    func: Any,
    types: Sequence[type],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
) -> Any:
    del types
    return watcher.answer(func, args, kwargs or {})
