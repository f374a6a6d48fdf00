import errno
import os

import numpy as np
import pytest
from PIL import Image

from nucleosynth.data.images import find_images, read_image, write_png
from nucleosynth.errors import InputError


@pytest.fixture
def picture(rng):
    return rng.integers(0, 256, (70, 90, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_rgb_is_read_as_it_is(tmp_path, picture, suffix):
    Image.fromarray(picture).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}"), picture)


@pytest.mark.parametrize(
    ("mode", "name", "message"),
    [
        ("L", "a.png", "grayscale"),
        ("L", "a.jpg", "grayscale"),
        ("P", "a.png", "palette"),
        ("RGBA", "a.png", "RGBA"),
        ("CMYK", "a.jpg", "CMYK"),
        ("1", "a.png", "black and white"),
        ("I;16", "a.png", "16-bit"),
        ("I;16", "a.tif", "16-bit"),
    ],
)
def test_what_is_not_8_bit_rgb_is_refused(tmp_path, picture, mode, name, message):
    if mode == "I;16":
        Image.fromarray(picture[..., 0].astype(np.uint16) * 200).save(tmp_path / name)
    else:
        Image.fromarray(picture).convert(mode).save(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: is .*{message}.*convert"):
        read_image(tmp_path / name)


def test_16_bit_rgb_is_refused(tmp_path, picture):
    import cv2
    import tifffile

    wide = picture.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "a.png"), wide)
    tifffile.imwrite(tmp_path / "a.tif", wide, photometric="rgb")
    for name in ("a.png", "a.tif"):
        with pytest.raises(InputError, match=f"{name}: (is 16-bit|damaged)"):
            read_image(tmp_path / name)


def _damaged(content, way):
    middle = len(content) // 2
    if way == "cut":
        return content[:middle]
    if way == "cut, with the end of the last 12 bytes":
        return content[:middle] + content[-12:]
    if way == "one byte":
        return content[:middle] + bytes([content[middle] ^ 0x55]) + content[middle + 1 :]
    if way == "zeros":
        return content[:middle] + bytes(300) + content[middle + 300 :]
    return b""


@pytest.mark.parametrize("way", ["cut", "cut, with the end of the last 12 bytes", "one byte", "zeros", "empty"])
def test_a_damaged_png_is_refused(tmp_path, picture, way):
    write_png(tmp_path / "a.png", picture)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(_damaged(content, way))
    with pytest.raises(InputError, match=r"a\.png: damaged"):
        read_image(tmp_path / "a.png")


def test_a_png_that_lacks_only_its_end_is_refused(tmp_path, picture):
    path = tmp_path / "a.png"
    write_png(path, picture)
    path.write_bytes(path.read_bytes()[:-12])
    assert np.asarray(Image.open(path)).shape == picture.shape  # Decoding alone does not notice.
    with pytest.raises(InputError, match=r"a\.png: damaged"):
        read_image(path)


@pytest.mark.parametrize("way", ["cut", "empty"])
@pytest.mark.parametrize("suffix", ["jpg", "tif", "bmp"])
def test_a_truncated_image_is_refused(tmp_path, picture, suffix, way):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture).save(path)
    path.write_bytes(_damaged(path.read_bytes(), way))
    with pytest.raises(InputError, match="damaged"):
        read_image(path)


def test_a_jpeg_whose_gap_the_decoder_fills_with_grey_is_refused(tmp_path, picture):
    path = tmp_path / "a.jpg"
    Image.fromarray(picture).save(path, quality=95)
    content = path.read_bytes()
    read_image(path)
    path.write_bytes(content[: len(content) // 2] + b"\xff\xd9")
    assert (np.asarray(Image.open(path))[-8:, -8:] == 128).all()  # Pillow returns it without a word.
    with pytest.raises(InputError, match="part of the picture is missing"):
        read_image(path)


def test_a_missing_file_and_a_text_are_refused(tmp_path):
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(InputError, match=r"a\.png: damaged"):
        read_image(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"b\.png: no such file"):
        read_image(tmp_path / "b.png")


def test_images_are_found_sorted_and_none_that_is_hidden(tmp_path):
    for name in ("b/2.PNG", "b/1.jpeg", "a.tif", ".hidden.png", ".git/c.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert find_images(tmp_path) == [tmp_path / "a.tif", tmp_path / "b/1.jpeg", tmp_path / "b/2.PNG"]


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="no images"):
        find_images(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_images(tmp_path / "nowhere")


def test_label_images_keep_16_bits(tmp_path, rng):
    labels = rng.integers(0, 65536, (20, 30)).astype(np.uint16)
    write_png(tmp_path / "deep" / "a.png", labels)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "deep" / "a.png")), labels)
    assert os.listdir(tmp_path / "deep") == ["a.png"]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)]
)
def test_other_arrays_are_not_written(tmp_path, wrong):
    with pytest.raises(ValueError, match="pixels must be RGB uint8"):
        write_png(tmp_path / "a.png", wrong)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path, picture, monkeypatch):
    write_png(tmp_path / "a.png", picture)
    before = (tmp_path / "a.png").read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_png(tmp_path / "a.png", 255 - picture)
    assert caught.value.filename == str(tmp_path / "a.png")
    monkeypatch.undo()
    assert (tmp_path / "a.png").read_bytes() == before
