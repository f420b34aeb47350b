"""What a step of training costs, counted while it is taken: operations, and bytes that go to and from memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations, two for each multiply-accumulate, and bytes."""

    operations: float
    bytes: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.operations + other.operations, self.bytes + other.bytes)

    def __mul__(self, times: float) -> "Work":
        return Work(self.operations * times, self.bytes * times)


def work_of(run: Callable[[], object]) -> Work:
    """Count what `run` does in this thread, backward passes included.

    Operations are those of convolutions, matrix products and attention, forwards and backwards, by torch's own formulas. Bytes
    are the inputs and outputs of all operators, each as if it read and wrote memory by itself: at most what is moved, as
    fused operators and caches spare some of it. Views move nothing.
    """
    with Counter() as counter:
        run()
    return Work(counter.operations, counter.bytes)


def work_of_step(step: Callable[[int], object], sizes: tuple[int, int], batch_size: int) -> Work:
    """The work of a step on `batch_size` images, from steps on fewer.

    Some of it is the same for any batch, the optimiser's above all, and the rest grows with the images; two sizes tell the
    one from the other. (What grows with their square, similarities within a batch, is small beside it and missed.)

    Args:
        step: takes a step on so many images.
        sizes: the two sizes, the smaller one first.
        batch_size: of the step that is asked for.

    """
    few, more = sizes
    small, large = work_of(lambda: step(few)), work_of(lambda: step(more))
    for_each = (large + small * -1) * (1 / (more - few))
    return small + for_each * (batch_size - few)


class Counter(TorchDispatchMode):
    """Adds up operators while it is entered.

    torch's FlopCounterMode has the same formulas, and hooks of its own on modules, which do not survive a gradient with
    respect to pixels (`torch.autograd.grad`): every attack takes one.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's stubs
        self.operations = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do what is asked for, and add it up."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **kwargs, out_val=result)
        if not func.is_view and not func.__name__.startswith("empty"):
            self.bytes += sum(_bytes(leaf) for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor))
        return result


def _bytes(tensor: Tensor) -> int:
    # A tensor that repeats one row is read from where that row is.
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
