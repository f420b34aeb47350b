"""One of several processes that train together, as torchrun begins them."""

import os
import socket
import warnings
from multiprocessing import get_context

import torch
from torch import nn


def together(work, *arguments, number=2):
    """What `work(rank, *arguments)` returns in each of `number` new processes that have met each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("spawn")
    results = context.Queue()
    address = {"WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [context.Process(target=_begin, args=(results, rank, address, work, arguments)) for rank in range(number)]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=300) for _ in processes)
    for process in processes:
        process.join()
    return [found[rank] for rank in range(number)]


def _begin(results, rank, address, work, arguments):
    os.environ.update({name: str(value) for name, value in ({"RANK": rank, "LOCAL_RANK": rank} | address).items()})
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    from holdfast.trainer.loop.processes import process_group

    try:
        with process_group("cpu"):
            results.put((rank, work(rank, *arguments)))
    except BaseException as error:  # who waits for the result is to see it
        results.put((rank, repr(error)))
        raise


def trained(_rank, config, splits):
    """The weights that come of a run, as numpy arrays by name."""
    from holdfast.trainer import train

    encoder = train.train(config, splits).encoder
    return {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}


def averaged(rank):
    """Gradient, statistics and terms where the second of two processes has no loss: the first has two shards, both with one."""
    from holdfast.trainer.loop import processes

    layers = nn.ModuleDict({"used": nn.Linear(2, 1, bias=False), "unused": nn.Linear(1, 1), "norm": nn.BatchNorm2d(1)})
    if rank == 0:
        layers["used"].weight.grad = torch.tensor([[1.0, 2.0]])
    layers["norm"].running_mean.fill_(float(rank))
    found = [{"a": torch.tensor(1.0)}, {"a": torch.tensor(3.0), "b": torch.tensor(5.0)}] if rank == 0 else [{}]
    terms = processes.average(layers, ("a", "b", "c"), found)
    late = processes.decided(answer=rank == 0, device=torch.device("cpu"))
    gradient = layers["used"].weight.grad.tolist()
    kept = layers["unused"].weight.grad is None
    return gradient, kept, layers["norm"].running_mean.item(), {name: term.item() for name, term in terms.items()}, late


def averaged_and_trained(rank, config, splits):
    """Both, as a process takes seconds to begin."""
    return averaged(rank), trained(rank, config, splits)
