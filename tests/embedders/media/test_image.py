from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import open_clip
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from embedders.media.image import Fit, decode_image
from feature_repo.errors import MediaError

Paint = Callable[..., Image.Image]
Encode = Callable[..., bytes]
SQUARE = Fit(32, 32)


def decode(data: bytes, fit: Fit = SQUARE, max_pixels: int = 50_000_000) -> npt.NDArray[np.int64]:
    pixels = decode_image(data, fit, max_pixels)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (fit.height, fit.width, 3)
    return pixels.astype(np.int64)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">II", zlib.crc32(body), 9) + b"IDAT"


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_every_format_gives_the_same_picture(fmt: str, paint: Paint, encode: Encode) -> None:
    picture = paint(1)
    assert np.abs(decode(encode(picture, fmt)) - decode(encode(picture))).mean() < 8


def test_no_bytes_are_refused() -> None:
    with pytest.raises(MediaError, match=r"^empty file$"):
        decode(b"")


def test_text_is_refused() -> None:
    with pytest.raises(MediaError, match=r"^not a picture: none of JPEG"):
        decode(b"Dear reader, this is a letter.")


def test_formats_that_run_programs_are_refused() -> None:
    with pytest.raises(MediaError, match=r"^not a picture"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_truncated_file_is_refused(fmt: str, paint: Paint, encode: Encode) -> None:
    data = encode(paint(1, 300, 300), fmt)
    with pytest.raises(MediaError, match=r"^broken picture"):
        decode(data[: len(data) // 2])


def test_one_pixel_fills_the_frame(encode: Encode) -> None:
    assert (decode(encode(Image.new("RGB", (1, 1), (9, 99, 199))), Fit(32, 32, crop=0.875)) == (9, 99, 199)).all()


def test_a_line_of_pixels_is_accepted(paint: Paint, encode: Encode) -> None:
    decode(encode(paint(1, 3000, 1)))


def test_cmyk_becomes_rgb(encode: Encode) -> None:
    cyan = Image.new("CMYK", (40, 40), (255, 0, 0, 0))
    assert np.allclose(decode(encode(cyan, "JPEG")).mean((0, 1)), (0, 255, 255), atol=6)


def test_sixteen_bit_grey_keeps_its_range(encode: Encode) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None, :].repeat(64, 0)
    row = decode(encode(Image.fromarray(ramp)))[16, :, 0]
    assert row[0] < 8
    assert row[-1] > 247
    assert (np.diff(row) > 0).all()


def test_pixels_of_unknown_range_are_refused(encode: Encode) -> None:
    with pytest.raises(MediaError, match=r"^unsupported pixels: mode F"):
        decode(encode(Image.new("F", (8, 8)), "TIFF"))


def test_an_animation_gives_its_first_frame(encode: Encode) -> None:
    red, blue = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")
    data = encode(red, "GIF", save_all=True, append_images=[blue], duration=50)
    assert (decode(data) == (255, 0, 0)).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_composited_on_white(mode: str, encode: Encode) -> None:
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0)).convert(mode)
    assert (decode(encode(clear, "TIFF" if mode == "PA" else "PNG")) == 255).all()


def test_a_transparent_palette_colour_is_white(encode: Encode) -> None:
    picture = Image.new("P", (40, 40), 0)
    picture.putpalette([10, 20, 30])
    assert (decode(encode(picture)) == (10, 20, 30)).all()
    assert (decode(encode(picture, transparency=0)) == 255).all()


def test_a_hundred_megapixels_are_refused_by_the_header() -> None:
    with pytest.raises(MediaError, match=r"^too large: 10000 x 10000 is over 50,000,000 pixels$"):
        decode(png_header(10_000, 10_000))


def test_the_limit_is_the_callers(encode: Encode) -> None:
    data = encode(Image.new("1", (10_000, 10_000)))
    assert (decode(data, max_pixels=100_000_000) == 0).all()
    with pytest.raises(MediaError, match=r"^too large"):
        decode(data, max_pixels=99_999_999)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, paint: Paint, encode: Encode) -> None:
    upright = paint(3, 80, 80)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    assert np.abs(decode(encode(stored, exif=exif)) - decode(encode(upright))).max() <= 1


def test_a_broken_exif_block_is_ignored(paint: Paint, encode: Encode) -> None:
    data = encode(paint(1), "JPEG", exif=b"Exif\x00\x00nonsense")
    assert (decode(data) == decode(encode(paint(1), "JPEG"))).all()


def test_the_crop_is_the_middle(encode: Encode) -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 100:200] = 255
    wide = encode(Image.fromarray(pixels))
    assert decode(wide, Fit(32, 32, crop=0.8)).min() == 255
    assert decode(wide, Fit(32, 32, mode="squash"))[16, 1].max() == 0
    assert (decode(wide, Fit(30, 30, mode="longest", fill=7))[2] == 7).all()


@pytest.mark.parametrize(("mode", "bound"), [("shortest", 1.5), ("squash", 1.5), ("longest", 1.5)])
def test_it_agrees_with_the_models_own_preprocessing(mode: str, bound: float, paint: Paint, encode: Encode) -> None:
    picture = paint(5, 200, 120)
    config = open_clip.transform.PreprocessCfg(size=64, mean=(0, 0, 0), std=(1, 1, 1), resize_mode=mode)
    theirs = open_clip.transform.image_transform_v2(config, is_train=False)(picture).permute(1, 2, 0).numpy() * 255
    ours = decode(encode(picture), Fit(64, 64, mode=mode))  # type: ignore[arg-type]
    assert np.abs(ours - theirs).mean() < bound


def test_a_large_jpeg_is_shrunk_while_decoding_without_a_visible_change(paint: Paint, encode: Encode) -> None:
    picture = paint(2, 1600, 1200)
    assert np.abs(decode(encode(picture, "JPEG", quality=95)) - decode(encode(picture))).mean() < 2


@given(
    st.binary(max_size=400), st.sampled_from([b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\x00"])
)
def test_garbage_is_always_a_media_error(tail: bytes, magic: bytes) -> None:
    with pytest.raises(MediaError):
        decode(magic + tail, max_pixels=10_000)
