"""Which runs there are: for each order and method one after each chunk, which the next one goes on from."""

from dataclasses import dataclass
from pathlib import Path

from holdfast.data import DataName
from holdfast.data.streams import Order, StreamConfig
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.objectives import ObjectiveConfig, SequentialConfig
from reproduce.arms import Arm
from reproduce.sequential.scales import StreamScale

JOINT, PLAIN, REPLAY, ANCHOR, BOTH = "joint", "plain", "replay", "anchor", "both"
MIXED, DISTILLED = "mixed", "distilled"
SUPERVISED_JOINT, SUPERVISED = "supervised-joint", "supervised"
TITLES = {
    JOINT: "joint",
    PLAIN: "plain",
    REPLAY: "replay",
    ANCHOR: "MAS",
    BOTH: "replay and MAS",
    MIXED: "LUMP",
    DISTILLED: "CaSSLe",
    SUPERVISED_JOINT: "supervised, joint",
    SUPERVISED: "supervised, plain",
}
CLASS_ORDERS: tuple[Order, ...] = ("distant-class", "random-class")
"""Those that the supervised control is trained on."""

REPLAYED = 0.1
"""Share of earlier chunks that is kept."""
MIXED_WITH = 256
"""Images that LUMP keeps, as its authors do."""


@dataclass(frozen=True)
class StreamPlan:
    """The runs of one order.

    Attributes:
        scale: how large.
        order: in which chunks come.
        out: of all orders.
        data_dir: where the labelled sets lie.

    """

    scale: StreamScale
    order: Order
    out: Path
    data_dir: Path | None

    @property
    def data(self) -> DataName:
        """The labelled set."""
        return "domains" if self.order == "domains" else self.scale.data

    @property
    def stream(self) -> StreamConfig:
        """Three sets, or five chunks of one."""
        return StreamConfig(self.order, 3 if self.order == "domains" else 5)

    def joint(self, *, supervised: bool = False) -> Arm:
        """All images at once, as many steps as all chunks take. Of orders of the same images it is the same run."""
        styled = self.order in {"domain", "domains"}
        name = SUPERVISED_JOINT if supervised else JOINT
        stream = self.stream if styled else StreamConfig(chunks=1)
        objective: ObjectiveConfig = self.scale.supervised if supervised else SequentialConfig(self.scale.simclr, replay=0.0)
        stage = self._stage("joint", objective, self.scale.steps * self.stream.chunks, None)
        config = self._config((stage,), self.out / (self.order if styled else "images") / name, stream)
        return Arm(name, TITLES[name], config)

    def chain(self, method: str, anchor: float = 0.0) -> list[Arm]:
        """The runs of a method, one after each chunk. The first is shared by all label-free methods.

        Args:
            method: plain, replay, anchor, both, mixed, distilled or supervised.
            anchor: its weight, for the methods that have one.

        """
        folder = self.out / self.order
        first = folder / (f"{method}-0" if method == SUPERVISED else "first")
        name = f"{method}-{anchor:g}" if method in {ANCHOR, BOTH} else method
        places = [first, *(folder / f"{name}-{chunk}" for chunk in range(1, self.stream.chunks))]
        stages = tuple(
            self._stage(f"chunk{n}", self._objective(method, anchor, n), self.scale.steps, n) for n in range(len(places))
        )
        return [
            Arm(
                f"{name}-{chunk}",
                f"{self.order}, {TITLES[method]}, after chunk {chunk + 1}",
                self._config(stages[: chunk + 1], place, self.stream, places[chunk - 1] if chunk else None),
            )
            for chunk, place in enumerate(places)
        ]

    def _objective(self, method: str, anchor: float, chunk: int) -> ObjectiveConfig:
        if method == SUPERVISED:
            return self.scale.supervised
        if not chunk:
            return SequentialConfig(self.scale.simclr, replay=0.0)
        return SequentialConfig(
            self.scale.simclr,
            replay=REPLAYED if method in {REPLAY, BOTH} else 0.0,
            anchor=anchor,
            distil=1.0 if method == DISTILLED else 0.0,
            mix=MIXED_WITH if method == MIXED else 0,
        )

    def _stage(self, name: str, objective: ObjectiveConfig, steps: int, chunk: int | None) -> Stage:
        scale = self.scale
        return Stage(name, objective, steps, scale.batch_size, learning_rate=scale.learning_rate, chunk=chunk)

    def _config(
        self, stages: tuple[Stage, ...], out: Path, stream: StreamConfig, start_from: Path | None = None
    ) -> TrainConfig:
        return TrainConfig(
            encoder=self.scale.encoder,
            stages=stages,
            out=out,
            data=self.data,
            data_dir=self.data_dir,
            stream=stream,
            k=self.scale.vote.k,
            device=self.scale.device,
            start_from=start_from,
            checkpoint_every=50,
            log_every=20,
        )
