"""From a trained encoder to a bundle that lacks only its index."""

import copy
from datetime import UTC, datetime

import numpy as np
from torch import nn

from holdfast.bundle.manifest import DataRecord, Manifest, ThreatModelRecord, TrainingRecord
from holdfast.bundle.reader import HEAD
from holdfast.bundle.writer import BundleWriter
from holdfast.data.listing import printable
from holdfast.data.sets import input_kind
from holdfast.data.speech.bank import AUGMENTED
from holdfast.data.streaming.training import TrainingSplits
from holdfast.model.preprocess import InputContract
from holdfast.model.vote import VoteParameters
from holdfast.revision import commit
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.continuing import continued_record
from holdfast.trainer.encoders import fitting_of
from holdfast.trainer.export import rounding, whitening
from holdfast.trainer.export.graphs import export
from holdfast.trainer.export.head import served_head
from holdfast.trainer.export.parity import Parity
from holdfast.trainer.loop.device import device_of
from holdfast.trainer.loop.streamed_set import whole_set
from holdfast.trainer.objectives import ObjectiveConfig, PseudoLabelledConfig, SequentialConfig, SsatConfig, UganConfig
from holdfast.trainer.objectives.attack import AttackConfig
from holdfast.trainer.state.source import HardenedSource, hardened_source
from holdfast.trainer.train import Trained


def write_bundle(config: TrainConfig, splits: TrainingSplits, trained: Trained, command: str) -> Parity:
    """Export `trained` to `config.out` with a manifest that says how it was made.

    Args:
        config: what was trained.
        splits: what it was trained on.
        trained: the encoder, and what it took.
        command: the command line, as a person would type it again.

    Raises:
        ExportError: the graphs do not compute what the encoder computes. No manifest is written.
        BundleError: `config.out` holds something else.

    """
    contract = InputContract(kind=input_kind(config.data), **fitting_of(config.encoder)._asdict())
    listens = contract.kind == "speech"
    encoder = exported_encoder(config, splits, trained)
    writer = BundleWriter.create(config.out)
    source, some = hardened_source(config), np.arange(min(33, len(splits.learned_from)))
    parity = export(encoder, writer, contract, splits.learned_from.pixels(some), half=config.half)
    if trained.head is not None:
        writer.add(HEAD, served_head(trained.head, encoder, splits.train).save)
    writer.commit(
        Manifest(
            name=config.out.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            input=contract,
            embedding_dim=trained.encoder.dim,
            class_names=splits.train.class_names if len(splits.train.class_names) > 1 else (),
            vote=VoteParameters(k=config.k, weighting=config.weighting, temperature=config.temperature),
            surrogate_tau=config.surrogate_tau,
            threat_model=None if listens else ThreatModelRecord(norm=config.norm, epsilon=config.epsilon),
            training=_training(config, splits, trained, command, source),
            imported=source.imported if source else None,
        )
    )
    return parity


def exported_encoder(config: TrainConfig, splits: TrainingSplits, trained: Trained) -> nn.Module:
    """What is exported: the encoder, rounded and whitened where that is asked for; either is kept beside the checkpoint."""
    trunk = rounding.rounded(trained.encoder) if config.half else trained.encoder
    encoder: nn.Module = trunk
    if config.whitening:
        device = device_of(config)
        train_set = whole_set(splits.learned_from, device)
        encoder = whitening.whiten(copy.deepcopy(trunk).to(device), train_set, config.whitening).cpu()
    rounding.save(config.out, half=config.half)
    whitening.save(encoder, config.out)
    return encoder


def _training(
    config: TrainConfig, splits: TrainingSplits, trained: Trained, command: str, source: HardenedSource | None
) -> TrainingRecord:
    return TrainingRecord(
        command=command,
        seed=config.seed,
        commit=commit(),
        objective=", then ".join(describe_stage(stage) for stage in config.stages),
        encoder=", ".join([str(config.encoder), *describe_postprocessing(config)]),
        steps=trained.steps,
        seconds=round(trained.seconds, 1),
        data=DataRecord(
            name=config.data,
            directory=printable(str(config.data_dir)) if config.data_dir else None,
            sha256=splits.sha256,
            calibration=splits.drawn_calibration,
            max_pixels=config.max_pixels,
            seed=config.seed,
            labels=config.labels,
            label_noise=config.label_noise,
        ),
        augmentations=AUGMENTED if config.data == "sessions" else "",
        hardened=any(hardens(stage.objective) for stage in config.stages),
        continued=continued_record(config),
        hardened_from=source.record if source else None,
    )


def describe_postprocessing(config: TrainConfig) -> list[str]:
    """What is done to the encoder after the training, in a few words each."""
    whitened = [f"whitened by {config.whitening:g}"] if config.whitening else []
    return ["weights rounded to float16"] * config.half + whitened


def describe_stage(stage: Stage) -> str:
    """A stage in a few words: "ssat (label_free, L-inf 8/255), 300 steps of 256"."""
    words = _words_of(stage.objective)
    how = f" ({', '.join(words)})" if words else ""
    chunk = "" if stage.chunk is None else f" on chunk {stage.chunk}"
    return f"{stage.name}{how}, {stage.steps} steps of {stage.batch_size}{chunk}"


def hardens(objective: ObjectiveConfig) -> bool:
    """Whether attacked images are learned from."""
    match objective:
        case AttackConfig(steps=steps, threat=threat):
            return steps > 0 and threat.epsilon > 0
        case SequentialConfig(inner=inner) | PseudoLabelledConfig(objective=inner):
            return hardens(inner)
        case _:
            return False


def _words_of(objective: ObjectiveConfig) -> list[str]:
    match objective:
        case SsatConfig(arm=arm, threat=threat):
            return [arm, str(threat)]
        case AttackConfig(threat=threat):
            return [str(threat)]
        case UganConfig(arm=arm):
            return [arm]
        case PseudoLabelledConfig(objective=AttackConfig(threat=threat), threshold=threshold):
            return [f"on labels guessed above {threshold:g}", str(threat)]
        case SequentialConfig(inner=inner, replay=replay, anchor=anchor, distil=distil, mix=mix):
            named = {"replay": replay, "anchor": anchor, "distil": distil, "mix": mix}
            held = [f"{name} {value:g}" for name, value in named.items() if value > 0]
            return [type(inner).__name__.removesuffix("Config"), *_words_of(inner), *held]
        case _:
            return []
