import io
import os
import re

import numpy as np
import pytest
from PIL import Image

from modeling_paraclip.pictures import Decoder, open_picture


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def two_halves():
    """Red above, blue below."""
    picture = Image.new("RGB", (40, 60), "red")
    picture.paste("blue", (0, 30, 40, 60))
    return picture


def test_exif_orientation_is_applied(two_halves):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    opened = open_picture(encoded(two_halves, "PNG", exif=exif))
    assert opened.size == (60, 40)
    assert opened.getpixel((50, 20)) == (255, 0, 0)
    assert opened.getpixel((10, 20)) == (0, 0, 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled(kind):
    ramp = np.linspace(0, 65535, 32, dtype=np.uint16).reshape(1, -1).repeat(4, axis=0)
    found = np.asarray(open_picture(encoded(Image.fromarray(ramp), kind)))
    assert (found == np.round(ramp / 257)[..., None]).all()


def test_float_pictures_are_scaled_or_refused_by_name(tmp_path):
    values = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    found = np.asarray(open_picture(encoded(Image.fromarray(values), "TIFF")))
    assert (found == np.round(values * 255)[..., None]).all()
    path = tmp_path / "strange.tiff"
    path.write_bytes(encoded(Image.fromarray(values * 300), "TIFF"))
    _, pixels, problem = Decoder([{"path": str(path), "bytes": None}], np.asarray, frozenset())[0]
    assert pixels is None
    assert problem.startswith(f"cannot read picture {path}: its float values are not within 0 and 1")


def test_eight_bit_pictures_are_as_pillow_opens_them(two_halves):
    for mode in ("RGB", "L", "P", "CMYK"):
        picture = two_halves.convert(mode)
        expected = np.asarray(picture.convert("RGB"))
        assert (np.asarray(open_picture(encoded(picture, "TIFF"))) == expected).all(), mode


def test_cmyk_keeps_its_colours(two_halves):
    opened = np.asarray(open_picture(encoded(two_halves.convert("CMYK"), "JPEG", quality=95)), int)
    assert abs(opened - np.asarray(two_halves, int)).max() < 12  # what JPEG loses; inverted inks would be 255 off


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGBA", "PNG"), ("RGBA", "WEBP"), ("LA", "PNG"), ("P", "PNG"), ("P", "GIF")]
)
def test_what_is_transparent_is_white(mode, kind):
    """Black all over, stored in full: opaque above, transparent below."""
    picture = Image.new("LA" if mode == "LA" else "RGBA", (4, 4), (0, 255) if mode == "LA" else (0, 0, 0, 255))
    picture.paste((0, 0) if mode == "LA" else (0, 0, 0, 0), (0, 2, 4, 4))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    if mode == "P":  # two blacks, of which the second is transparent
        picture = Image.new("P", (4, 4), 0)
        picture.putpalette([0, 0, 0, 0, 0, 0])
        picture.paste(1, (0, 2, 4, 4))
        options = {"transparency": 1, "optimize": False}
    found = np.asarray(open_picture(encoded(picture, kind, **options)))
    assert found[:2].max() == 0
    assert found[2:].min() == 255


def test_half_transparent_is_mixed_with_white():
    (pixel,) = np.unique(np.asarray(open_picture(encoded(Image.new("LA", (2, 2), (0, 128)), "PNG"))))
    assert pixel == 127


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    pipe, huge = tmp_path / "pipe.png", tmp_path / "huge.png"
    os.mkfifo(pipe)
    with open(huge, "wb") as file:
        file.truncate(2**28 + 1)  # takes no room
    expected = {
        str(tmp_path / "absent.png"): "cannot find picture .*absent.png: No such file",
        str(tmp_path): "cannot read picture .*: it is no plain file",
        str(pipe): "cannot read picture .*pipe.png: it is no plain file",
        "/dev/zero": "cannot read picture /dev/zero: it is no plain file",
        str(huge): "cannot read picture .*huge.png: 268,435,457 bytes are more than a picture's",
        "a\0b.png": "cannot read picture a.b.png: embedded null byte",
    }
    decoder = Decoder([{"path": path, "bytes": None} for path in expected], np.asarray, frozenset())
    for i, message in enumerate(expected.values()):
        assert re.match(message, decoder[i][2]), decoder[i][2]
    decoder = Decoder([{"path": None, "bytes": b"no picture"}], np.asarray, frozenset())
    assert decoder[0][2].startswith("cannot read picture of row 1: it is damaged, or none of JPEG, PNG")


def test_what_would_run_a_program_or_fill_the_memory_is_refused(two_halves, monkeypatch):
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("Ghostscript was started"))
    with pytest.raises(ValueError, match="it is damaged, or none of"):
        open_picture(encoded(two_halves, "EPS"))
    with pytest.raises(ValueError, match="60000 x 1 pixels are too narrow"):
        open_picture(encoded(Image.new("1", (60_000, 1)), "PNG"))
    with pytest.raises(ValueError, match="exceeds limit"):
        open_picture(encoded(Image.new("1", (10_000, 10_000)), "PNG"))


def test_whatever_a_decoder_raises_is_that_pictures_problem(two_halves):
    """Every picture opens, or is named: nothing else escapes."""
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        data = encoded(two_halves, kind)
        for _ in range(60):
            mutated = bytearray(data)
            for place in rng.integers(0, len(mutated), rng.integers(1, 8)):
                mutated[place] = rng.integers(0, 256)
            digest, _, problem = Decoder([{"path": None, "bytes": bytes(mutated)}], np.asarray, frozenset())[0]
            assert digest and isinstance(problem, str)
