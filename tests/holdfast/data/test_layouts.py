"""Folders as people have them: how each layout is read, and what is said of it."""

import os
import shutil

import pytest

from holdfast.data import DataError
from holdfast.data.listing import list_images
from holdfast.data.listing.parts import LABELLED
from tests.holdfast.data.folders import classes, picture, put


def counts(listing):
    """{class: (train, calibration, test)}."""
    return {
        name: tuple(int(((listing.labels == label) & (listing.parts == part)).sum()) for part in LABELLED)
        for label, name in enumerate(listing.class_names)
    }


def said(listing):
    return "\n".join(listing.left_out.lines())


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Val", "Test"),
        ("TRAINING", "validation", "testing"),
        ("training_set", "valid_set", "test_set"),
        ("Training Images", "Validation Images", "Test Images"),
        ("train-data", "dev", "test-data"),
        ("trainset", "valset", "testset"),
        ("seg_train", "seg_val", "seg_test"),
        ("asl_alphabet_train/asl_alphabet_train", "asl_alphabet_val", "asl_alphabet_test/asl_alphabet_test"),
        ("archive/dataset/train", "archive/dataset/val", "archive/dataset/test"),
    ],
)
def test_parts_are_known_by_the_names_people_give_them(tmp_path, train, val, test):
    classes(tmp_path / train, "cat", "dog", images=4)
    classes(tmp_path / val, "cat", "dog", images=2)
    classes(tmp_path / test, "cat", "dog", images=3)
    listing = list_images(tmp_path)
    assert counts(listing) == {"cat": (4, 2, 3), "dog": (4, 2, 3)}
    assert said(listing) == ""


def test_a_set_in_the_folder_of_an_archive_is_found(tmp_path):
    classes(tmp_path / "photos-v2" / "photos", "cat", "dog")
    put(tmp_path, "photos-v2/README.txt", content=b"hello")
    listing = list_images(tmp_path)
    assert counts(listing) == {"cat": (3, 0, 0), "dog": (3, 0, 0)}
    assert listing.names[0] == "photos-v2/photos/cat/0.png"


def test_images_at_any_depth_belong_to_the_class_above(tmp_path):
    classes(tmp_path, "cat", "dog/2020/may", "dog/2021")
    assert counts(list_images(tmp_path)) == {"cat": (3, 0, 0), "dog": (6, 0, 0)}


def test_parts_within_each_class(tmp_path):
    for name in ("cat", "dog"):
        classes(tmp_path / name, "Train", images=4)
        classes(tmp_path / name, "Test", images=2)
    assert counts(list_images(tmp_path)) == {"cat": (4, 0, 2), "dog": (4, 0, 2)}


def test_classes_may_be_called_train_or_test(tmp_path):
    classes(tmp_path, "train", "bus", "car")
    assert set(counts(list_images(tmp_path))) == {"train", "bus", "car"}
    classes(tmp_path, "bus/test", "car/old")
    assert set(counts(list_images(tmp_path))) == {"train", "bus", "car"}


def test_training_alone_is_a_set_without_a_test_part(tmp_path):
    classes(tmp_path / "train", "cat", "dog", images=10)
    listing = list_images(tmp_path)
    train, held, test = listing.split(calibration=2, seed=0)
    assert (len(train), len(held), len(test)) == (14, 2, 4)


def test_unlabelled_test_images_and_folders_beside_the_parts_are_left_out_and_counted(tmp_path):
    classes(tmp_path / "train", "cat", "dog")
    put(tmp_path / "test", "0.png", "1.png")
    assert counts(list_images(tmp_path)) == {"cat": (3, 0, 0), "dog": (3, 0, 0)}
    assert "2 images without a class (test/)" in said(list_images(tmp_path))
    classes(tmp_path / "val", "cat", "dog", images=1)
    put(tmp_path, "others/0.png", "others/1.png", "others/2.png", "loose.png", "train/loose.png")
    listing = list_images(tmp_path)
    assert counts(listing) == {"cat": (3, 1, 0), "dog": (3, 1, 0)}
    assert "3 images in folders beside the parts (others/)" in said(listing)
    assert "2 images that lie outside of all class folders" in said(listing)


def test_class_folders_of_the_parts_are_matched_in_any_case_and_unicode_form(tmp_path):
    classes(tmp_path / "train", "Cat", "cafe\u0301", images=2)
    classes(tmp_path / "test", "cat", "caf\u00e9", images=1)
    assert counts(list_images(tmp_path)) == {"Cat": (2, 0, 1), "cafe\u0301": (2, 0, 1)}
    classes(tmp_path, "upper/A", "upper/a", "upper/b")
    assert set(counts(list_images(tmp_path / "upper"))) == {"A", "a", "b"}


def test_what_systems_leave_behind_is_no_part_of_the_set(tmp_path):
    classes(tmp_path, "cat", "dog")
    put(tmp_path, "__MACOSX/cat/._0.png", "cat/.ipynb_checkpoints/0.png", "cat/@eaDir/0.png/thumb.jpg", ".git/x.png")
    put(tmp_path, ".DS_Store", "cat/Thumbs.db", "cat/desktop.ini", "dog/._0.png", "dog/.hidden.png")
    put(tmp_path, "labels.csv", "cat/notes.txt", content=b"some text")
    put(tmp_path, "dog/photograph", "dog/SHOUTED.PNG", "dog/x.jfif")
    (tmp_path / "empty" / "below").mkdir(parents=True)
    listing = list_images(tmp_path)
    assert counts(listing) == {"cat": (3, 0, 0), "dog": (6, 0, 0)}
    for line in (
        "4 system and hidden folders",
        "5 system and hidden files",
        "2 files that are not images",
        "1 folder without images (empty/)",
    ):
        assert line in said(listing)


def test_images_of_other_formats_and_missing_files_are_refused_or_left_out(tmp_path):
    classes(tmp_path, "cat", "dog")
    put(tmp_path, "cat/a.gif", "cat/b.HEIC", "cat/nameless", content=b"GIF89a..")
    with pytest.raises(DataError, match=r"(?s)3 files.*cat/a.gif is a GIF image.*convert"):
        list_images(tmp_path)
    listing = list_images(tmp_path, skip_unusable=True)
    assert counts(listing)["cat"] == (3, 0, 0)
    assert "3 files that cannot be read as images" in said(listing)


def test_linked_folders_are_followed_once_and_links_back_are_refused(tmp_path):
    classes(tmp_path / "elsewhere", "dogs", "more")
    classes(tmp_path / "set", "cat")
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere" / "dogs")
    (tmp_path / "set" / "cat" / "more").symlink_to("../../elsewhere/more")
    (tmp_path / "set" / "cat" / "one.png").symlink_to("0.png")
    (tmp_path / "set" / "cat" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "set" / "again").symlink_to("cat")
    os.mkfifo(tmp_path / "set" / "cat" / "pipe.png")
    listing = list_images(tmp_path / "set")
    assert counts(listing) == {"cat": (6, 0, 0), "dog": (3, 0, 0)}
    for line in (
        "1 link to a folder that is read already (again)",
        "1 link that leads nowhere",
        "1 socket, pipe",
        "1 copy of an image",
    ):
        assert line in said(listing)
    for target in (".", "..", "/"):
        (tmp_path / "set" / "cat" / "loop").symlink_to(target)
        with pytest.raises(DataError, match="cat/loop is a link to a folder that it lies in"):
            list_images(tmp_path / "set")
        (tmp_path / "set" / "cat" / "loop").unlink()


def test_a_link_to_a_folder_that_links_back_is_refused(tmp_path):
    classes(tmp_path / "set", "cat", "dog")
    classes(tmp_path, "elsewhere")
    (tmp_path / "set" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
    listing = list_images(tmp_path / "set")
    assert counts(listing) == {"cat": (6, 0, 0), "dog": (3, 0, 0)}
    assert "read already (cat/more/back)" in said(listing)


def test_the_same_image_under_two_labels_is_left_out_under_both(tmp_path):
    classes(tmp_path, "cat", "dog")
    shutil.copy(tmp_path / "cat" / "0.png", tmp_path / "dog" / "copy.png")
    listing = list_images(tmp_path)
    assert counts(listing) == {"cat": (2, 0, 0), "dog": (3, 0, 0)}
    assert "2 files whose image has two labels (cat/0.png = dog/copy.png)" in said(listing)
    shutil.rmtree(tmp_path / "dog")
    shutil.copytree(tmp_path / "cat", tmp_path / "dog")
    with pytest.raises(DataError, match=r"(?s)no training images remain of cat, dog.*two labels"):
        list_images(tmp_path)


def test_an_image_stays_in_the_part_that_is_held_out_the_furthest(tmp_path):
    classes(tmp_path / "train", "cat", "dog", images=6)
    put(tmp_path, "train/cat/again.png", "train/cat/once.png", content=picture(1))
    put(tmp_path, "train/cat/t.png", "test/cat/0.png", "val/cat/t.png", content=picture(2))
    put(tmp_path, "train/cat/v.png", "val/cat/0.png", content=picture(3))
    listing = list_images(tmp_path)
    assert counts(listing) == {"cat": (7, 1, 1), "dog": (6, 0, 0)}
    for line in (
        "1 copy of an image of the same class (train/cat/once.png)",
        "1 training image that the test part has too (train/cat/t.png)",
        "1 calibration image that the test part has too (val/cat/t.png)",
        "1 training image that the calibration part has too (train/cat/v.png)",
    ):
        assert line in said(listing)


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["0.png", "1.png"], "no class folders with images, and 2 images"),
        (["only/0.png"], "one class folder with images, only/"),
        (["train/0.png", "test/1.png"], "test/ and train/ hold images but no class folders"),
        (["train/only/0.png", "test/only/1.png"], "at least two"),
        (["test/a/0.png", "test/b/0.png"], "no train/"),
        (["train/a/0.png", "train/b/0.png", "Training/a/0.png", "Training/b/1.png"], "same part"),
        (["train/a/0.png", "train/b/0.png", "c/0.png"], "whether train/ is a class or the training part"),
        (["train/a/0.png", "train/b/0.png", "test/a/0.png", "test/c/0.png"], "classes that train/ has not: c/"),
        (["a/train/0.png", "b/test/0.png"], "the class folder b/ has parts, but no train/"),
        ([], "no class folders with images"),
    ],
)
def test_what_cannot_be_told_is_refused_in_a_sentence(tmp_path, paths, reason):
    put(tmp_path, *paths)
    with pytest.raises(DataError, match=reason):
        list_images(tmp_path)


def test_what_is_no_folder_is_refused(tmp_path):
    put(tmp_path, "set.zip", content=b"PK")
    with pytest.raises(DataError, match="set.zip is a file: unpack"):
        list_images(tmp_path / "set.zip")
    with pytest.raises(DataError, match="there is no .*nowhere"):
        list_images(tmp_path / "nowhere")


def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    classes(tmp_path, "cat", "dog")
    (tmp_path / "dog").chmod(0)
    try:
        if os.access(tmp_path / "dog", os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(DataError, match="dog cannot be read: Permission denied"):
            list_images(tmp_path)
    finally:
        (tmp_path / "dog").chmod(0o700)


def test_the_odd_folders(shared_data):
    folders = shared_data / "odd-folders"
    assert counts(list_images(folders / "folder-capital-Train-Test")) == {"blue": (10, 0, 10), "red": (10, 0, 10)}
    assert counts(list_images(folders / "folder-train-val-test")) == {"blue": (10, 10, 10), "red": (10, 10, 10)}
    assert counts(list_images(folders / "folder-rare-class")) == {"blue": (60, 0, 0), "green": (6, 0, 0), "red": (60, 0, 0)}
    assert counts(list_images(folders / "folder-rotated-odd-exif")) == {"blue": (10, 0, 0), "red": (11, 0, 0)}


@pytest.mark.parametrize("name", ["unlabelled", "Unlabeled"])
def test_images_of_unknown_class_lie_beside_the_classes_or_the_parts(tmp_path, name):
    classes(tmp_path / "a", "cat", "dog", images=5)
    put(tmp_path / "a", f"{name}/1.png", f"{name}/2020/2.png")
    listing = list_images(tmp_path / "a")
    assert counts(listing) == {"cat": (5, 0, 0), "dog": (5, 0, 0)}
    assert [listing.names[row] for row in listing.unlabelled] == [f"{name}/1.png", f"{name}/2020/2.png"]
    assert listing.labels[listing.unlabelled].tolist() == [-1, -1]
    split = listing.split(calibration=2, seed=0)
    assert sorted(row for rows in split for row in rows) == list(range(10))
    assert "2 without a label" in listing.describe(split)[0]
    classes(tmp_path / "b" / "train", "cat", "dog")
    put(tmp_path / "b", f"{name}/1.png")
    listing = list_images(tmp_path / "b")
    assert counts(listing) == {"cat": (3, 0, 0), "dog": (3, 0, 0)}
    assert len(listing.unlabelled) == 1


def test_an_image_with_a_label_is_not_kept_without_one(tmp_path):
    classes(tmp_path / "train", "cat", "dog")
    classes(tmp_path / "test", "cat", "dog")
    put(tmp_path, "train/cat/known.png", "unlabelled/known.png", content=picture(1))
    put(tmp_path, "test/cat/held.png", "unlabelled/held.png", content=picture(2))
    put(tmp_path, "train/cat/two.png", "train/dog/two.png", "unlabelled/two.png", content=picture(3))
    put(tmp_path, "unlabelled/new.png", "unlabelled/copy.png", content=picture(4))
    listing = list_images(tmp_path)
    assert [listing.names[row] for row in listing.unlabelled] == ["unlabelled/copy.png"]
    assert counts(listing) == {"cat": (4, 0, 4), "dog": (3, 0, 3)}
    assert "3 images without a label that have one elsewhere" in said(listing)
    assert "1 copy of an image without a label" in said(listing)


def test_a_folder_for_images_without_labels_that_has_none_is_refused(tmp_path):
    classes(tmp_path, "cat", "dog")
    put(tmp_path, "unlabelled/notes.txt", content=b"none yet")
    with pytest.raises(DataError, match="unlabelled/ holds no images"):
        list_images(tmp_path)
    put(tmp_path, "unlabelled/1.png", "unlabeled/2.png")
    with pytest.raises(DataError, match="both hold images without labels"):
        list_images(tmp_path)
    shutil.rmtree(tmp_path / "unlabeled")
    assert len(list_images(tmp_path).unlabelled) == 1


def test_images_without_labels_among_the_classes_of_a_part_are_refused(tmp_path):
    classes(tmp_path / "train", "cat", "dog", "unlabelled")
    with pytest.raises(DataError, match="move it beside the parts"):
        list_images(tmp_path)
