"""What frozen embeddings still know of the augmentation: a discriminator trained afterwards, on pairs of held-out sessions."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from holdfast.data.speech.bank import PROFILES, SEGMENTS
from holdfast.intervals.paired import Bits
from holdfast.model.answers import Floats, Ints
from holdfast.trainer.objectives.contrastive.augmentation_adversarial import pair_discriminator

PAIRS = 20
"""Of each kind, from each held-out session."""

BATCH = 256
HIDDEN = 512


@dataclass(frozen=True, eq=False)
class Probed:
    """What the probe says of held-out pairs.

    right: bool [n], whether it told one augmentation from two. sessions: int64 [n], which session each pair is of.
    """

    right: Bits
    sessions: Ints


def probe(train: Floats, test: Floats, *, steps: int, seed: int = 0) -> Probed:
    """Train the discriminator on embeddings of one bank and ask it about another's.

    Args:
        train: float32 [N * PROFILES * SEGMENTS, D] of unit length, in the order of `SessionBank.flat`.
        test: likewise, of other sessions.
        steps: of BATCH pairs of each kind.
        seed: of the pairs and the initial weights.

    """
    generator = torch.Generator().manual_seed(seed)
    banks = [torch.from_numpy(part).reshape(-1, PROFILES, SEGMENTS, part.shape[1]) for part in (train, test)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        told = pair_discriminator(train.shape[1], HIDDEN)
    optimiser = torch.optim.Adam(told.parameters(), 1e-3)
    for _ in range(steps):
        pairs, _ = _pairs(banks[0], torch.randint(len(banks[0]), (BATCH,), generator=generator), generator)
        optimiser.zero_grad()
        F.cross_entropy(told(pairs), _answers(BATCH)).backward()  # type: ignore[no-untyped-call]  # torch's stubs
        optimiser.step()
    told.eval()
    sessions = torch.arange(len(banks[1])).repeat_interleave(PAIRS)
    pairs, sessions = _pairs(banks[1], sessions, generator)
    with torch.inference_mode():
        right = told(pairs).argmax(1) == _answers(len(pairs) // 2)
    return Probed(right.numpy().astype(np.bool_), sessions.numpy())


def _answers(each: int) -> torch.Tensor:
    """1 for the first half of the pairs, which are of one augmentation."""
    return 1 - torch.arange(2).repeat_interleave(each)


def _pairs(bank: torch.Tensor, sessions: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs [2 n, 2 D] of one augmentation and then of two, as the objective draws them; and the session of each."""
    count = len(sessions)
    one = torch.randint(PROFILES, (count,), generator=generator)
    other = (one + torch.randint(1, PROFILES, (count,), generator=generator)) % PROFILES
    segment = torch.randint(SEGMENTS, (count,), generator=generator)
    anchor, same, different = (
        bank[sessions, profile, place] for profile, place in ((one, segment), (one, 1 - segment), (other, 1 - segment))
    )
    pairs = torch.cat([torch.cat([anchor, same], 1), torch.cat([anchor, different], 1)])
    return pairs, torch.cat([sessions, sessions])
