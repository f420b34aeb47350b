"""Bundles of tiny imported encoders, images for them, and runs that harden them."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from holdfast.attacks.pgd import pgd
from holdfast.bundle.threat_model import ThreatModel
from holdfast.importing.encoder import EncoderOptions, read_encoder
from holdfast.importing.preprocessing import InputOptions
from holdfast.trainer import train
from holdfast.trainer.cli import load_splits
from holdfast.trainer.export import graphs
from holdfast.trainer.hardening.command import robustify_parser
from holdfast.trainer.hardening.images import is_set_without_classes, read_without_classes
from holdfast.trainer.hardening.plan import HardeningOptions, hardening_config, record_of, with_frozen_layers
from holdfast.trainer.importing.imported import ImportOptions, write_imported
from holdfast.trainer.state.source import ParentBundle
from tests.holdfast.importing.foreign import exported, saved, trained

SCALED = InputOptions(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}


def bundle_of(model, folder, pool=None):
    """The bundle of an ONNX model, imported, without the gradient that nothing here asks for."""
    imported = read_encoder(saved(model, folder / "model.onnx"), EncoderOptions(input=SCALED, pool=pool))
    options = ImportOptions(threat=ThreatModel("linf", 4 / 255), command="holdfast import model.onnx")
    with patch.object(graphs, "trace_gradient", side_effect=NotImplementedError):
        write_imported(imported, folder / "parent", options)
    return folder / "parent"


def bundle_of_net(kind, folder, pool=None):
    """The bundle of one of the tiny networks."""
    return bundle_of(exported(trained(kind), opset=17), folder, pool)


def photographs(folder, side=(16, 16), each=8):
    """Class folders of noisy pictures of one colour."""
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = np.clip(random.normal(colour, 40, (*side, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def without_classes(folder, source):
    """The same images in one folder, with a file that is none."""
    folder.mkdir()
    for path in source.rglob("*.png"):
        (folder / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    (folder / "README.md").write_text("no image")
    return folder


def run_of(parent, images, out, *flags):
    """A parent, a run that hardens it, and its images."""
    typed = ["--from", str(parent), "--data", str(images), "--out", str(out), "--no-estimate-cost", "--device", "cpu", *flags]
    opened = ParentBundle.open(Path(parent))
    asked = with_frozen_layers(opened, HardeningOptions(**vars(robustify_parser().parse_args(typed))))
    if is_set_without_classes(str(images)):
        splits = read_without_classes(Path(images), opened.manifest.input, skip_unreadable=False, max_pixels=10**6)
    else:
        splits = load_splits(hardening_config(opened, asked, None))
    config = hardening_config(opened, asked, splits)
    opened.keep(config, record_of(opened, asked))
    return config, splits


def hardened(parent, images, out, *flags):
    """The encoder that comes of a run, and the run."""
    config, splits = run_of(parent, images, out, *flags)
    return train.train(config, splits).encoder, config, splits


def distances(encoder, original, images, epsilon):
    """Mean squared distances to the original's clean embeddings: clean, and under an attack of 10 steps."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    goal = F.normalize(original(pixels), dim=1).detach()

    def moved(batch):
        return (F.normalize(encoder(batch), dim=1) - goal).square().sum(1)

    threat, generator = ThreatModel("linf", epsilon), torch.Generator().manual_seed(1)
    attacked = pgd(moved, pixels, threat, steps=10, step_size=epsilon / 4, generator=generator, keep="best")
    with torch.no_grad():
        return float(moved(pixels).mean()), float(moved(attacked).mean())
