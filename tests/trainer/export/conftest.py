from pathlib import Path

import pytest
import torch
from torch import nn

from holdfast.model.preprocess import InputContract
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.export import graphs, rounding
from tests.shared import made_once

CONTRACT = InputContract(height=32, width=32)


def warmed(encoder: nn.Module) -> nn.Module:
    """With a BatchNorm that has seen images, and weights rounded to float16."""
    with torch.no_grad():
        for _ in range(5):
            encoder(torch.rand(8, 3, 32, 32))
    return rounding.rounded(encoder).eval()


@pytest.fixture(scope="session")
def small_in_half(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A small encoder with half weights, and a folder: its graphs in shared/, and as if each stood alone in alone/."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = warmed(build_encoder(ResNetConfig(32, 1, 40, activation="silu")))

    def write(folder: Path) -> None:
        shared, alone = folder / "shared", folder / "alone"
        for each in (shared, alone):
            each.mkdir(parents=True)
        share_weights = graphs.share_weights

        def keep_and_share(models, name):
            for file, model in zip(("encoder.onnx", "gradient.onnx", "encoder_float16.onnx"), models, strict=True):
                (alone / file).write_bytes(model.SerializeToString())
            return share_weights(models, name)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(graphs, "share_weights", keep_and_share)
            assert graphs.write_graphs(encoder, shared, CONTRACT, half=True) == graphs.Lacking()

    return encoder, made_once(tmp_path_factory, "small-in-half", write)
