"""All runs of a scale, measured as soon as they are trained, and what they come to."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from holdfast.data import Splits, load
from holdfast.data.streams import Order
from reproduce.arms import Arm, TrainedArm, check_deadline, train_arm
from reproduce.command import Invocation
from reproduce.kept_results import Figures, KeptResults, read
from reproduce.sequential.claims import OrderScores
from reproduce.sequential.flatness import MovedScores
from reproduce.sequential.measuring import StreamEvaluation, scores
from reproduce.sequential.picture import Curves
from reproduce.sequential.plan import (
    ANCHOR,
    BOTH,
    CLASS_ORDERS,
    JOINT,
    PLAIN,
    SUPERVISED,
    SUPERVISED_JOINT,
    StreamPlan,
)
from reproduce.sequential.scales import StreamScale

SEED = 0


@dataclass
class StreamResults:
    """What was measured so far, by order."""

    knn: list[OrderScores] = field(default_factory=list)
    linear: list[OrderScores] = field(default_factory=list)
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    moves: list[MovedScores] = field(default_factory=list)
    chosen_anchor: float | None = None

    @property
    def shown_curves(self) -> Curves:
        """Of the orders in which chunk 1 has classes of its own."""
        return {order: arms for order, arms in self.curves.items() if order in CLASS_ORDERS}


@dataclass
class StreamPipeline:
    """Trains and measures one order after another; what an earlier call has done is read."""

    call: Invocation[StreamScale]
    _splits: dict[str, Splits] = field(default_factory=dict)
    _anchor: float | None = None

    def orders(self) -> Iterator[StreamResults]:
        """What is known after each order. Raises TimeUpError at the deadline."""
        results = StreamResults()
        for order in self.call.scale.orders:
            self._measure(order, results)
            yield results

    def _measure(self, order: Order, results: StreamResults) -> None:
        scale = self.call.scale
        plan = StreamPlan(scale, order, self.call.out, self.call.data_dir)
        splits = self._read(plan)
        evaluation = StreamEvaluation(splits, plan.stream, scale)
        kept = KeptResults(self.call.out / order / "results.json", {"scale": scale.name, "data": splits.sha256})
        finals = {JOINT: self._final(plan.joint(), splits, evaluation, kept)}
        chains = {PLAIN: plan.chain(PLAIN)}
        anchor = self._choose_anchor(plan, splits, evaluation, kept)
        chains |= {method: plan.chain(method, anchor if method in {ANCHOR, BOTH} else 0.0) for method in scale.methods}
        if order in CLASS_ORDERS:
            finals[SUPERVISED_JOINT] = self._final(plan.joint(supervised=True), splits, evaluation, kept)
            chains[SUPERVISED] = plan.chain(SUPERVISED)
        for method, chain in chains.items():
            results.curves.setdefault(order, {})[method] = self._curve(chain, splits, evaluation, kept)
            finals[method] = self._final(chain[-1], splits, evaluation, kept)
        results.knn.append(OrderScores(order, {arm: scores(figures["knn"]) for arm, figures in finals.items()}))
        results.linear.append(OrderScores(order, {arm: scores(figures["linear"]) for arm, figures in finals.items()}))
        results.chosen_anchor = anchor or None
        if order in CLASS_ORDERS:
            plain, control = chains[PLAIN][-1], chains[SUPERVISED][-1]
            compared = {
                PLAIN: plain,
                SUPERVISED: control,
                JOINT: plan.joint(),
                SUPERVISED_JOINT: plan.joint(supervised=True),
            }
            moves = {name: self._moved(arm, splits, evaluation, kept) for name, arm in compared.items()}
            results.moves.append(MovedScores.of(order, moves))

    def _read(self, plan: StreamPlan) -> Splits:
        if plan.data not in self._splits:
            self._splits[plan.data] = load(
                plan.data, directory=self.call.data_dir, size=plan.scale.encoder.image_size, seed=SEED
            )
        return self._splits[plan.data]

    def _choose_anchor(self, plan: StreamPlan, splits: Splits, evaluation: StreamEvaluation, kept: KeptResults) -> float:
        """The weight that leaves the encoder best on calibration images, in the first order; the others take it over."""
        if ANCHOR not in plan.scale.methods:
            return 0.0
        if self._anchor is None:
            tried = {}
            for weight in plan.scale.anchors:
                chain = plan.chain(ANCHOR, weight)

                def held_out(chain: list[Arm] = chain) -> Figures:
                    return {"accuracy": evaluation.held_out(self._train(chain, splits).encoder)}

                tried[weight] = kept.of(f"held-out {chain[-1].name}", held_out)["accuracy"]
            self._anchor = max(tried, key=lambda weight: (tried[weight], -weight))
        return self._anchor

    def _train(self, chain: list[Arm], splits: Splits) -> TrainedArm:
        trained = [train_arm(arm, splits, self.call.console, deadline=self.call.deadline) for arm in chain]
        return trained[-1]

    def _final(self, arm: Arm, splits: Splits, evaluation: StreamEvaluation, kept: KeptResults) -> Figures:
        def measure() -> Figures:
            trained = self._train([arm], splits)
            check_deadline(self.call.deadline, f"measuring {arm.title}")
            return evaluation.final(trained.encoder) | {"seconds": trained.seconds}

        return kept.of(f"final {arm.name}", measure)

    def _moved(self, arm: Arm, splits: Splits, evaluation: StreamEvaluation, kept: KeptResults) -> Figures:
        def measure() -> Figures:
            trained = self._train([arm], splits)
            check_deadline(self.call.deadline, f"moving the weights of {arm.title}")
            with self.call.console.status(f"moving the weights of {arm.title}"):
                return evaluation.moved(trained.encoder)

        return kept.of(f"moved {arm.name}", measure)

    def _curve(self, chain: list[Arm], splits: Splits, evaluation: StreamEvaluation, kept: KeptResults) -> list[float]:
        values = []
        for length in range(1, len(chain) + 1):

            def measure(done: list[Arm] = chain[:length]) -> Figures:
                trained = self._train(done, splits)
                check_deadline(self.call.deadline, f"measuring {done[-1].title}")
                return evaluation.first_chunk(trained.encoder)

            values.append(float(np.mean(read(kept.of(f"first chunk {chain[length - 1].name}", measure)["knn"]))))
        return values
