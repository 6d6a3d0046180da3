from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from hetsearch.data.folder import open_folder
from hetsearch.errors import DataError


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2)).save(path, "PNG")
    return path


def test_sub_folders_are_labels(tmp_path: Path) -> None:
    for name in ("shirt/b.png", "shirt/a.PNG", "bag/deep/c.jpg", "shirt/notes.txt"):
        save(tmp_path / name)
    images = open_folder(tmp_path)
    assert images.keys == ("bag/deep/c.jpg", "shirt/a.PNG", "shirt/b.png")
    assert images.labels == ("bag", "shirt", "shirt")
    assert images.name == str(tmp_path)
    assert images.read(1) == tmp_path / "shirt" / "a.PNG"


def test_one_image_at_the_top_means_no_labels(tmp_path: Path) -> None:
    save(tmp_path / "shirt" / "a.png")
    save(tmp_path / "z.png")
    images = open_folder(tmp_path)
    assert images.keys == ("shirt/a.png", "z.png")
    assert images.labels is None


def test_names_with_spaces_and_other_scripts_stay_as_they_are(tmp_path: Path) -> None:
    decomposed = "cafe\u0301.png"
    names = (
        "Ankle boot/mein Schuh.png",
        "T-shirt,top/it's \"x\".png",
        f"рубашка/{decomposed}",
        "衬衫/图 1.png",
    )
    for name in reversed(names):
        save(tmp_path / name)
    images = open_folder(tmp_path)
    assert images.keys == names
    assert all(Path(str(images.read(index))).is_file() for index in range(4))


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".thumbs/c.png", "d/.e/f.png"):
        save(tmp_path / name)
    assert open_folder(tmp_path).keys == ("a.png",)


def test_link_loops_end_and_a_real_name_wins(tmp_path: Path) -> None:
    root = tmp_path / "root"
    save(root / "z" / "a.png")
    (root / "z" / "up").symlink_to(root, target_is_directory=True)
    (root / "z" / "self").symlink_to(".", target_is_directory=True)
    (root / "alias").symlink_to(root / "z", target_is_directory=True)
    elsewhere = save(tmp_path / "elsewhere" / "b.png").parent
    (root / "linked").symlink_to(elsewhere, target_is_directory=True)
    images = open_folder(root)
    assert images.keys == ("linked/b.png", "z/a.png")
    assert images.labels == ("linked", "z")


def test_a_dangling_link_is_kept_and_a_pipe_is_not(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "c.png")
    assert open_folder(tmp_path).keys == ("a.png", "b.png")


def test_a_folder_without_images_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no images: observed 0 other file\(s\)"):
        open_folder(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "sub/b.npy", "sub/png"):
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=r"observed 3 other file\(s\), expected files that end in .*\.png"):
        open_folder(tmp_path)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(tmp_path), b"a\xff.png"), "wb"):
        pass
    with pytest.raises(DataError, match=r"name is not UTF-8.*Rename it"):
        open_folder(tmp_path)


def test_a_folder_whose_own_name_is_not_utf8(tmp_path: Path) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"\xff")
    os.mkdir(folder)
    save(Path(os.fsdecode(folder)) / "a.png")
    with pytest.raises(DataError, match="name is not UTF-8"):
        open_folder(Path(os.fsdecode(folder)))


def test_a_link_to_itself_is_an_unreadable_picture_or_nothing(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("b.png")
    (tmp_path / "folder").symlink_to("folder")
    assert open_folder(tmp_path).keys == ("a.png", "b.png")
