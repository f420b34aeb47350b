"""What a step of training costs, counted while it is taken: floating-point operations, and bytes to and from memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True, slots=True)
class OperationCount:
    """Floating-point operations, two for each multiply-accumulate, and bytes."""

    operations: float
    bytes: float

    def __add__(self, other: "OperationCount") -> "OperationCount":
        return OperationCount(self.operations + other.operations, self.bytes + other.bytes)

    def __mul__(self, times: float) -> "OperationCount":
        return OperationCount(self.operations * times, self.bytes * times)


def count_operations(run: Callable[[], object]) -> OperationCount:
    """Count what `run` does in this thread, backward passes included.

    Operations are those of convolutions, matrix products and attention, forwards and backwards, by torch's own formulas. Bytes
    are the inputs and outputs of all operators, each as if it read and wrote memory by itself. That is an upper bound: fused
    operators and caches move fewer. Views move nothing.
    """
    with OperationCounter() as counter:
        run()
    return OperationCount(counter.operations, counter.bytes)


def count_step_operations(step: Callable[[int], object], sizes: tuple[int, int], batch_size: int) -> OperationCount:
    """Count a step on `batch_size` images, extrapolated from two steps on fewer.

    A part of the count is the same for any batch, above all the optimiser's, and the rest grows with the images; two sizes
    separate the two. What grows with the square of the images, similarities within a batch, is small beside it and is missed.

    Args:
        step: takes a step on so many images.
        sizes: the two sizes, the smaller one first.
        batch_size: images of the step that is asked for.

    """
    few, more = sizes
    small, large = count_operations(lambda: step(few)), count_operations(lambda: step(more))
    for_each = (large + small * -1) * (1 / (more - few))
    return small + for_each * (batch_size - few)


class OperationCounter(TorchDispatchMode):
    """Adds up operators while it is entered.

    torch's FlopCounterMode has the same formulas, but it hooks modules, and its hooks do not survive a gradient with respect
    to pixels (`torch.autograd.grad`), which every attack takes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's stubs
        self.operations = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and add it to the count."""
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
