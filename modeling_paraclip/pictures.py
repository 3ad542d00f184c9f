"""Bytes to pictures: one decoder for training and evaluation, that names what it cannot read."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from transformers import BaseImageProcessor

# Part of the key of cached embeddings: raise it when the same bytes decode to other pixels.
DECODER = "3: EXIF orientation applied, 16-bit and float pictures scaled, transparent ones laid on white"

# No EPS, which Pillow gives to Ghostscript to run, and nothing else that people do not search in.
Image.init()
KNOWN = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
FORMATS: list[str] = [name for name in KNOWN if name in Image.OPEN]  # some are options of Pillow's build
MAX_ASPECT = 100
MAX_BYTES = 2**28  # of a file


def open_picture(data: bytes) -> Image.Image:
    """Decode to RGB, upright as its EXIF orientation says.

    16-bit and float pictures (values in 0..1) are scaled to 8 bits, and what is transparent shows white, as on a page;
    `convert("RGB")` would show the colour that is stored beneath, often black.

    Refused before anything is decoded: a format that is not in `FORMATS`, a decompression bomb (over 89 megapixels,
    Pillow's limit), and a picture so narrow that resizing its shorter side to that of a model would need gigabytes.

    Raises:
        ValueError: it cannot be read, or is refused; the message says why.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
            if max(picture.size) > MAX_ASPECT * min(picture.size):
                raise ValueError(f"{picture.width} x {picture.height} pixels are too narrow; crop it")
            return _opaque(_eight_bit(ImageOps.exif_transpose(picture)))
    except UnidentifiedImageError as error:  # its own message shows an address in memory
        raise ValueError(f"it is damaged, or none of {', '.join(FORMATS)}") from error
    # decoders raise nearly anything on a broken file: struct.error, IndexError, ZeroDivisionError, ...
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Grey pictures of more than 8 bits, which Pillow's `convert` clips to white, scaled to 8. Others as they are."""
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    values = np.asarray(picture, np.float64)
    highest = 1.0 if picture.mode == "F" else 65535.0
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= highest):
        kind = "float" if picture.mode == "F" else "integer"
        raise ValueError(f"its {kind} values are not within 0 and {highest:g}; convert it to 8 bits")
    return Image.fromarray(np.round(values * (255 / highest)).astype(np.uint8))


def _opaque(picture: Image.Image) -> Image.Image:
    """RGB, on white where the picture is transparent."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def is_url(path: str | Path) -> bool:
    """Whether a picture is named by the address of a server, instead of by a file."""
    return isinstance(path, str) and path.lower().startswith(("http://", "https://"))


def shown(path: str) -> str:
    """A path or URL as it may be printed: without the login and the query of a URL, which may hold a key."""
    if not is_url(path):
        return path
    address, _, _ = path.partition("?")
    scheme, _, rest = address.partition("://")
    host, slash, name = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{name}"


def read_file(path: str | Path) -> bytes:
    """The bytes of a plain file of a sensible size.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no plain file, e.g. a pipe or a device that never ends; or it is too large; or the name has a
            NUL in it, or is a URL.
    """
    if is_url(path):
        raise ValueError("it is a URL, and nothing is requested unless --allow_remote_images is given")
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no plain file")
    if found.st_size > MAX_BYTES:
        raise ValueError(f"{found.st_size:,} bytes are more than a picture's {MAX_BYTES:,}")
    return Path(path).read_bytes()


class PixelValues:
    """An image processor as a function: RGB picture -> (3, height, width). Worker processes can be given it."""

    def __init__(self, image_processor: BaseImageProcessor):
        self._image_processor = image_processor

    def __call__(self, image: Image.Image) -> Tensor:
        """Preprocess one picture."""
        return self._image_processor(image, return_tensors="pt")["pixel_values"][0]


def digest_of(data: bytes, box: tuple | None = None) -> str:
    """The key of a picture, or of a part of it, in a cache."""
    return hashlib.sha256(data + repr(box).encode() if box else data).hexdigest()


class Decoder(Dataset):
    """Item i: (digest, pixel values or None where the digest is known, what is wrong with the picture or "")."""

    def __init__(
        self,
        pictures: Sequence[Mapping],
        preprocess: Callable[[Image.Image], Tensor],
        known: frozenset[str],
        read: Callable[[str], bytes] = read_file,
    ):
        self._pictures, self._preprocess, self._known, self._read = pictures, preprocess, known, read

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, i: int) -> tuple[str, Tensor | None, str]:
        picture = self._pictures[i]
        name, data, box = picture["path"] or f"of row {i + 1}", picture["bytes"], picture.get("box")
        if data is None:
            try:
                data = self._read(name)
            except (OSError, ValueError) as error:
                # what cannot be read is told apart by name
                said = "cannot find" if isinstance(error, FileNotFoundError) else "cannot read"
                reason = getattr(error, "strerror", None) or error
                return digest_of(repr(name).encode()), None, f"{said} picture {shown(name)}: {reason}"
        digest = digest_of(data, box)
        if digest in self._known:
            return digest, None, ""
        try:
            image = open_picture(data)
            return digest, self._preprocess(image.crop(box) if box else image), ""
        except ValueError as error:
            return digest, None, f"cannot read picture {shown(name)}: {error}"
