import gzip
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from holdfast import data
from holdfast.data import DataError, cifar10
from holdfast.data.idx import read_idx


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def cifar_rows(labels, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
    return pixels, np.column_stack([np.array(labels, dtype=np.uint8), pixels.reshape(len(labels), -1)]).tobytes()


@pytest.fixture
def small_cifar(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i, name in enumerate((*cifar10.TRAIN_FILES, *cifar10.TEST_FILES)):
        (folder / name).write_bytes(cifar_rows(list(range(10)) * 3, seed=i)[1])
    return folder


def test_digits_are_split_as_promised_and_always_alike(digits):
    assert [len(part) for part in (digits.train, digits.calibration, digits.test)] == [1197, 200, 400]
    assert digits.train.images.shape == (1197, 32, 32, 3)
    assert len({*digits.train.sources, *digits.calibration.sources, *digits.test.sources}) == 1797
    for part in (digits.train, digits.calibration, digits.test):
        shares = np.bincount(part.labels, minlength=10) / len(part)
        assert np.all(np.abs(shares - 0.1) < 0.01)
    assert data.load("digits").sha256 == digits.sha256
    assert data.load("digits", seed=1).sha256 != digits.sha256
    assert data.load("digits", calibration=10).sha256 != digits.sha256


def test_digits_keep_their_pixels_at_their_own_size():
    from sklearn.datasets import load_digits

    published = load_digits()
    train = data.load("digits", size=8).train
    row = int(train.sources[5].split("/")[1])
    expected = np.rint(published.images[row] * 255 / 16)
    assert train.images.max() == 255
    assert np.array_equal(train.images[5], np.repeat(expected[:, :, None], 3, axis=2))
    assert train.labels[5] == published.target[row]


def test_cifar_planes_become_pixels(small_cifar):
    splits = data.load("cifar10", directory=small_cifar.parent, calibration=20)
    assert [len(part) for part in (splits.train, splits.calibration, splits.test)] == [130, 20, 30]
    planes, _ = cifar_rows(list(range(10)) * 3, seed=5)  # the test batch is the sixth file
    assert np.array_equal(splits.test.images, planes.transpose(0, 2, 3, 1))
    assert splits.test.labels.tolist() == list(range(10)) * 3
    assert splits.test.sources[17] == "cifar10/test/17"
    assert splits.class_names[6] == "frog"
    assert data.load("cifar10", directory=small_cifar, calibration=20).sha256 == splits.sha256
    assert data.load("cifar10", directory=small_cifar, size=16).train.images.shape[1:] == (16, 16, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"\0" * 3072, "not a whole number of 3073-byte rows"),
        (b"\x0a" + b"\0" * 3072, "the label 10"),
        (None, "is missing"),
    ],
)
def test_damaged_cifar_is_named(small_cifar, content, reason):
    broken = small_cifar / "data_batch_3.bin"
    broken.unlink()
    if content is not None:
        broken.write_bytes(content)
    with pytest.raises(DataError, match=f"data_batch_3.bin.*{reason}"):
        data.load("cifar10", directory=small_cifar)


def test_pickled_cifar_is_not_opened(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match="opens no pickles"):
        data.load("cifar10", directory=tmp_path)


def test_real_cifar(shared_data, tmp_path):
    """The repack holds strips of images: the first test images must come out of the reader as they went in."""
    with zipfile.ZipFile(shared_data / "cifar10" / "test.zip") as shard, shard.open(min(shard.namelist())) as file:
        strip = np.asarray(Image.open(file).convert("RGB")).reshape(-1, 32, 32, 3)
    labels = np.load(shared_data / "cifar10" / "labels.npz")["test"][: len(strip)]
    rows = np.column_stack([labels.astype(np.uint8), strip.transpose(0, 3, 1, 2).reshape(len(strip), -1)]).tobytes()
    for name in (*cifar10.TRAIN_FILES, *cifar10.TEST_FILES):
        (tmp_path / name).write_bytes(rows)
    test = data.load("cifar10", directory=tmp_path).test
    assert np.array_equal(test.images, strip)
    assert np.array_equal(test.labels, labels)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("fashion-mnist", [1000] * 10), ("mnist", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])],
)
def test_real_idx_files(shared_data, name, counts):
    images = read_idx(shared_data / name / "t10k-images-idx3-ubyte.gz", 3)
    labels = read_idx(shared_data / name / "t10k-labels-idx1-ubyte.gz", 1)
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels).tolist() == counts
    with pytest.raises(DataError, match="1 axes, found type 0x08 with 3"):
        read_idx(shared_data / name / "t10k-images-idx3-ubyte.gz", 1)


def idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))


@pytest.mark.parametrize(("name", "last"), [("fashion-mnist", "Ankle boot"), ("mnist", "9")])
def test_idx_sets_from_small_files(tmp_path, name, last):
    random = np.random.default_rng(0)
    for prefix, n in (("train", 40), ("t10k", 10)):
        idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", random.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", np.arange(n, dtype=np.uint8) % 10)
    splits = data.load(name, directory=tmp_path)
    assert [len(part) for part in (splits.train, splits.calibration, splits.test)] == [36, 4, 10]
    assert splits.train.images.shape == (36, 32, 32, 3)
    assert splits.class_names[9] == last
    assert splits.test.sources[3] == f"{name}/test/3"
    idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.full(10, 10, dtype=np.uint8))
    with pytest.raises(DataError, match=f"label 10; {name} has labels 0 to 9"):
        data.load(name, directory=tmp_path)
    idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(9, dtype=np.uint8))
    with pytest.raises(DataError, match="10 images, but .* 9 labels"):
        data.load(name, directory=tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"plain", "not a whole gzip file"),
        (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 7]), mtime=0)[:-9], "not a whole gzip file"),
        (gzip.compress(b"", mtime=0), "not an idx file"),
        (gzip.compress(b"\x89PNG\r\n\x1a\n", mtime=0), "not an idx file: it starts with 89504e47"),
        (gzip.compress(bytes([0, 0, 13, 1, 0, 0, 0, 0]), mtime=0), "type 0x0d"),
        (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 9, 1, 2]), mtime=0), r"promises \[9\], but 2 bytes"),
    ],
)
def test_damaged_idx_files_say_what_is_wrong(tmp_path, content, reason):
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_idx(path, 1)


def test_missing_things_are_named():
    with pytest.raises(DataError, match="choose one of digits, cifar10"):
        data.load("imagenet")
    for name in ("mnist", "fashion-mnist"):
        with pytest.raises(DataError, match=f"{name} is read from a folder.*--data-dir"):
            data.load(name)
