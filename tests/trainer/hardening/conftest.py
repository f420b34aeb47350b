import pytest

from tests.holdfast.importing.foreign import Convolutional, Transformer
from tests.trainer.hardening.tiny_parents import bundle_of_net, photographs, without_classes


@pytest.fixture(scope="session")
def transformer(tmp_path_factory):
    return bundle_of_net(Transformer, tmp_path_factory.mktemp("transformer"), "cls")


@pytest.fixture(scope="session")
def convolutional(tmp_path_factory):
    return bundle_of_net(Convolutional, tmp_path_factory.mktemp("convolutional"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("photos") / "set")


@pytest.fixture(scope="session")
def flat(photos, tmp_path_factory):
    return without_classes(tmp_path_factory.mktemp("flat") / "images", photos)
