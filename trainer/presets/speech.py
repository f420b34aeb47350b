"""Speakers, from recordings. Both learn from a file of sessions in simulated channels, which is made first.

    python -m holdfast.data.speech DIR sessions.npz --sessions 50      of DIR/SPEAKER/*.wav, or free spoken digits
    python -m trainer speech --data-dir sessions.npz                   cross-entropy on the speakers
        405 s of a CPU core that others used as well. Free spoken digits: 87.7 % of 300 test recordings identified, equal error
        rate across simulated channels 11.8 %.
    python -m trainer speech-label-free --data-dir sessions.npz        augmentation adversarial training; no label is read
    holdfast index runs/speech --data DIR --out runs/speakers          enrol the recordings themselves

Pictures are 64 x 64, and 27 MMAC each. docs/speech.md has all figures.
"""

from dataclasses import replace
from pathlib import Path

from holdfast.trainer.augment import AugmentConfig
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import AugmentationAdversarialConfig, SupervisedConfig

# A mirrored picture of sound is another sound; a shift is one of pitch and time, and a turn makes pitch rise or fall.
PICTURES = AugmentConfig(
    flip=0.0, translate=3, rotate=10.0, zoom=0.1, brightness=0.2, contrast=0.2, saturation=0.0, hue=0.0, grey=0.0
)

SPEECH = TrainConfig(
    encoder=ResNetConfig(width=24, blocks=1, dim=64, image_size=64, activation="silu"),
    stages=(Stage("supervised", SupervisedConfig(PICTURES), steps=1_000, batch_size=64),),
    out=Path("runs/speech"),
    data="sessions",
    half=True,
    k=5,
)
SPEECH_LABEL_FREE = replace(
    SPEECH,
    stages=(Stage("adversarial", AugmentationAdversarialConfig(), steps=1_500, batch_size=24, learning_rate=1e-3),),
    out=Path("runs/speech-label-free"),
)
