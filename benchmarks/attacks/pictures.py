"""Pictures that are broken, hostile or odd, through training and evaluation."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from .box import Box, Case, Listener, Result, Skip, either, model_is_whole, obey_permissions, refused, works

Make = Callable[[Path], object]


def _saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (64, 48), **options) -> Make:
    """A good picture."""

    def make(path: Path) -> None:
        from PIL import Image

        try:
            picture = Image.linear_gradient("L").resize(size).convert(mode)
            picture.save(path, kind, **options)
        except (KeyError, OSError, ValueError) as error:
            raise Skip(f"Pillow here writes no {kind}: {error}") from error

    return make


def _bytes(content: bytes | Callable[[], bytes]) -> Make:
    return lambda path: path.write_bytes(content() if callable(content) else content)


def _of(kind: str, change: Callable[[bytes], bytes], mode: str = "RGB", **options) -> Make:
    """A good picture's bytes, changed."""

    def make(path: Path) -> None:
        _saved(kind, mode, **options)(path)
        path.write_bytes(change(path.read_bytes()))

    return make


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, depth: int = 8, color: int = 2, data: bytes = b"", more: bytes = b"") -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + _chunk(b"IDAT", zlib.compress(data)) + _chunk(b"IEND", b"")


def _gif_bomb() -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
        + b"\x02\x02D\x01\x00;"
    )


def _bmp(width: int, height: int, bits: int = 24, compression: int = 0, offset: int = 54) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 100, 0, 0, offset) + head + bytes(100)


def _tiff(*entries: tuple[int, int, int, int]) -> bytes:
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 0) + bytes(200)


def _tiff_loop() -> bytes:
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8)


def _exif(orientation: int) -> Make:
    def make(path: Path) -> None:
        from PIL import Image

        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(path, "JPEG", exif=exif)

    return make


def _raw_exif(data: bytes) -> Make:
    def make(path: Path) -> None:
        from PIL import Image

        Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(path, "JPEG", exif=b"Exif\0\0" + data)

    return make


def _array(values: Callable, kind: str = "TIFF") -> Make:
    """A picture of an array, e.g. of 16 bits or floats."""

    def make(path: Path) -> None:
        import numpy as np
        from PIL import Image

        Image.fromarray(values(np)).save(path, kind)

    return make


def _eps(path: Path) -> None:
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n"
        b"(PWNED) (w) file closefile\n%pipe%touch PWNED\n(%pipe%touch PWNED) (w) file\nshowpage\n%%EOF\n"
    )


def _text_bomb(kind: bytes) -> bytes:
    return _png(10, 10, data=bytes(310), more=_chunk(kind, b"k\0\0" + zlib.compress(bytes(50_000_000))))


def _icc_bomb() -> bytes:
    return _png(10, 10, data=bytes(310), more=_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(50_000_000))))


GOOD: dict[str, Make] = {
    **{
        f"{kind} {mode}": _saved(kind, mode)
        for kind, mode in (
            ("JPEG", "RGB"),
            ("JPEG", "L"),
            ("JPEG", "CMYK"),
            ("JPEG", "YCbCr"),
            ("PNG", "RGB"),
            ("PNG", "RGBA"),
            ("PNG", "L"),
            ("PNG", "LA"),
            ("PNG", "P"),
            ("PNG", "1"),
            ("WEBP", "RGB"),
            ("WEBP", "RGBA"),
            ("GIF", "P"),
            ("GIF", "L"),
            ("BMP", "RGB"),
            ("BMP", "1"),
            ("BMP", "P"),
            ("TIFF", "RGB"),
            ("TIFF", "CMYK"),
            ("TIFF", "LAB"),
            ("TIFF", "1"),
            ("PPM", "RGB"),
            ("PPM", "L"),
            ("PPM", "1"),
            ("AVIF", "RGB"),
            ("JPEG2000", "RGB"),
        )
    },
    "animated GIF": lambda path: _animated(path, "GIF"),
    "animated WEBP": lambda path: _animated(path, "WEBP"),
    "animated PNG": lambda path: _animated(path, "PNG"),
    "progressive JPEG": _saved("JPEG", progressive=True),
    "1 x 1": _saved("PNG", size=(1, 1)),
    "100 x 1": _saved("PNG", size=(100, 1)),
    "1 x 100": _saved("PNG", size=(1, 100)),
    "4,000 x 4,000": _saved("JPEG", size=(4000, 4000)),
    "a wrong suffix": _saved("WEBP"),
    **{f"EXIF orientation {value}": _exif(value) for value in (*range(1, 9), 0, 9, 255, 65535)},
    **{
        f"EXIF {name}": _raw_exif(data)
        for name, data in {
            "empty": b"",
            "garbage": b"x" * 100,
            "loop": _tiff_loop(),
            "huge count": _tiff((0x0112, 3, 2**31, 8)),
            "of texts": _tiff((0x0112, 2, 4, 0x61626364)),
            "big-endian": b"MM\0*\0\0\0\x08\0\0",
            "deep": b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0",
        }.items()
    },
    "16-bit TIFF": _array(lambda np: (np.arange(4800).reshape(60, 80) * 13).astype(np.uint16)),
    "16-bit PNG": _array(lambda np: (np.arange(4800).reshape(60, 80) * 13).astype(np.uint16), "PNG"),
    "float TIFF": _array(lambda np: (np.arange(4800).reshape(60, 80) / 4800).astype(np.float32)),
    "a comment of 60 KB": _saved("JPEG", comment=b"\x1b]0;evil\x07" * 5000),
    "trailing garbage": _of("JPEG", lambda data: data + b"x" * 100_000),
    "a polyglot of JPEG and ZIP": _of("JPEG", lambda data: data + b"PK\x03\x04" + b"x" * 100),
    "a polyglot of GIF and JavaScript": _of("GIF", lambda data: data + b"*/=1;alert(1);", "P"),
    "a polyglot of PNG and PDF": _of("PNG", lambda data: data + b"%PDF-1.4"),
    "transparency as bytes": _saved("PNG", "P", transparency=0),
}
BAD: dict[str, Make] = {
    "empty": _bytes(b""),
    "one byte": _bytes(b"\xff"),
    "text": _bytes(b"hello"),
    "HTML": _bytes(b"<html>404</html>"),
    "zeros": _bytes(bytes(10_000)),
    "random": _bytes(lambda: os.urandom(5000)),
    "EPS": _eps,
    "EPS with a JPEG suffix": _eps,
    "PDF": _bytes(b"%PDF-1.4\n1 0 obj\n"),
    "SVG": _bytes(b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1:9/x'/></svg>"),
    "MVG": _bytes(b"push graphic-context\nimage over 0,0 0,0 '|touch PWNED'\n"),
    **{
        f"format {kind}": _saved(kind, mode)
        for kind, mode in (
            ("ICO", "RGB"),
            ("TGA", "RGB"),
            ("PCX", "RGB"),
            ("SGI", "RGB"),
            ("IM", "RGB"),
            ("PDF", "RGB"),
            ("EPS", "RGB"),
            ("XBM", "1"),
            ("MSP", "1"),
            ("SPIDER", "F"),
            ("DDS", "RGB"),
            ("ICNS", "RGBA"),
            ("QOI", "RGB"),
        )
    },
    "pickle": _bytes(b"cos\nsystem\n(S'touch PWNED'\ntR."),
    "a shell script": _bytes(b"#!/bin/sh\ntouch PWNED\n"),
    "gzip": _bytes(b"\x1f\x8b" + bytes(100)),
    "FLI": _bytes(bytes(4) + b"\x11\xaf" + bytes(200)),
    "XPM": _bytes(b'/* XPM */\nstatic char *x[] = {"1 1 1 1"};'),
    "PNG bomb of 89 megapixels": _bytes(lambda: _png(10_000, 10_000)),
    "PNG bomb of 2**62 pixels": _bytes(lambda: _png(2**31 - 1, 2**31 - 1)),
    "PNG of 0 x 0": _bytes(lambda: _png(0, 0)),
    "PNG of 0 x 5": _bytes(lambda: _png(0, 5)),
    "PNG without data": _bytes(lambda: _png(10, 10)),
    "PNG of depth 255": _bytes(lambda: _png(10, 10, 255)),
    "PNG of colour 255": _bytes(lambda: _png(10, 10, 8, 255)),
    "PNG with a chunk of 2 GB": _bytes(
        lambda: b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"IHDR" + bytes(50)
    ),
    "PNG signature only": _bytes(b"\x89PNG\r\n\x1a\n"),
    "PNG text bomb": _bytes(lambda: _text_bomb(b"zTXt")),
    "GIF bomb": _bytes(_gif_bomb),
    "BMP bomb": _bytes(lambda: _bmp(100_000, 100_000)),
    "BMP of negative width": _bytes(lambda: _bmp(-10, 10)),
    "BMP of 0 x 0": _bytes(lambda: _bmp(0, 0)),
    "BMP of 77 bits": _bytes(lambda: _bmp(10, 10, 77)),
    "BMP of unknown compression": _bytes(lambda: _bmp(10, 10, 24, 99)),
    "BMP with a far offset": _bytes(lambda: _bmp(10, 10, 24, 0, 2**31)),
    "BMP of height -2**31": _bytes(lambda: _bmp(10, -(2**31))),
    "PPM bomb": _bytes(b"P6 100000 100000 255\n"),
    "PPM negative": _bytes(b"P6 -1 -1 255\n"),
    "PPM of texts": _bytes(b"P6 a b c\n"),
    "PPM maximum 0": _bytes(b"P6 10 10 0\n" + bytes(300)),
    "PPM of digits": _bytes(b"P6 " + b"9" * 10_000 + b" 1 255\n"),
    "PPM endless comment": _bytes(b"P6 #" + b"x" * 1_000_000),
    "plain PPM of letters": _bytes(b"P3 2 2 255\n" + b"z " * 12),
    "TIFF loop": _bytes(_tiff_loop),
    "TIFF bomb": _bytes(
        lambda: _tiff(
            (256, 4, 1, 2**31), (257, 4, 1, 2**31), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 100)
        )
    ),
    "TIFF with 65,535 tags": _bytes(lambda: b"II*\0\x08\0\0\0\xff\xff" + bytes(100)),
    "TIFF with counts of 4 GB": _bytes(lambda: _tiff((256, 4, 2**32 - 1, 8))),
    "TIFF without tags": _bytes(lambda: _tiff()),
    "float TIFF of NaN": _array(lambda np: np.full((60, 80), np.nan, np.float32)),
    "float TIFF of 1e30": _array(lambda np: np.full((60, 80), 1e30, np.float32)),
    "float TIFF of -1": _array(lambda np: np.full((60, 80), -1, np.float32)),
    "32-bit TIFF of 2**31 - 1": _array(lambda np: np.full((60, 80), 2**31 - 1, np.int32)),
    "aspect 1,000 x 1": _saved("PNG", size=(1000, 1)),
    "aspect 1 x 60,000": _saved("PNG", size=(1, 60_000)),
    "aspect 10,000 x 99": _saved("PNG", size=(10_000, 99)),
    "WEBP header only": _bytes(b"RIFF\x24\0\0\0WEBPVP8 "),
    "WEBP of 16,383 pixels and no data": _bytes(
        b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0\xfe\x3f\0\xfe\x3f\0"
    ),
    "JPEG header only": _bytes(b"\xff\xd8\xff\xe0"),
    "JPEG of 65,535 x 65,535": _of("JPEG", lambda data: _jpeg_size(data, 65535, 65535)),
    "JPEG of 0 x 0": _of("JPEG", lambda data: _jpeg_size(data, 0, 0)),
    "JPEG cut by half": _of("JPEG", lambda data: data[: len(data) // 2]),
    "PNG cut by half": _of("PNG", lambda data: data[: len(data) // 2]),
    "JPEG of 9 components": _of("JPEG", lambda data: _jpeg_components(data, 9)),
    "JPEG 2000 header": _bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50)),
    "AVIF header": _bytes(b"\0\0\0\x20ftypavif" + bytes(100)),
    "a Git LFS pointer": _bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
}
MAY: dict[str, Make] = {
    "a wrong checksum of a text": lambda path: path.write_bytes(
        _png(10, 10, data=bytes(310), more=b"\0\0\0\x01tEXtx\0\0\0\0")
    ),
    "PNG ICC bomb": _bytes(_icc_bomb),
    "PNG iTXt bomb": _bytes(lambda: _text_bomb(b"iTXt")),
    "JPEG with 10,000 markers": _of("JPEG", lambda data: data[:2] + b"\xff\xfe\0\x04ab" * 10_000 + data[2:]),
    "GIF of 5,000 frames": lambda path: _animated(path, "GIF", 5000),
    "JPEG with an endless scan": _of("JPEG", lambda data: data[:-2] + bytes(1_000_000)),
    "float TIFF of zeros": _array(lambda np: np.zeros((60, 80), np.float32)),
    "PNG with 100,000 chunks": _bytes(lambda: _png(10, 10, data=bytes(310), more=_chunk(b"tEXt", b"a\0b") * 100_000)),
    "a multi-picture JPEG": lambda path: _animated(path, "MPO"),
}


def _animated(path: Path, kind: str, frames: int = 3) -> None:
    from PIL import Image

    pictures = [Image.new("RGB", (16, 16), (i % 256, i // 256, 0)) for i in range(frames)]
    pictures[0].save(path, kind, save_all=True, append_images=pictures[1:])


def _jpeg_size(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def _jpeg_components(data: bytes, count: int) -> bytes:
    at = data.index(b"\xff\xc0")
    return data[: at + 9] + bytes([count]) + data[at + 10 :]


def _train(make: Make, *more: str):
    def run(box: Box) -> Result:
        box.pairs()
        path = Path("pictures") / box.rows()[3]["image_id"]
        path.unlink()
        make(path)
        return box.train(*more)

    return run


def _evaluate(make: Make):
    def run(box: Box) -> Result:
        box.copy("data")
        make(Path("data/photos/images/3.png"))
        return box.evaluate("--tasks", "image_text_retrieval", "--output", "results.json")

    return run


def _link(target: str) -> Make:
    return lambda path: path.symlink_to(target)


def _denied(box: Box) -> Result:
    box.pairs()
    path = Path("pictures") / box.rows()[3]["image_id"]
    os.chmod(path, 0)
    obey_permissions()
    return box.train()


def _fetched(name: str):
    """A picture's address on a listener, which must not be asked."""

    def run(box: Box) -> Result:
        with Listener(200, b"\x89PNG") as listener:
            rows = box.rows()
            box.pairs()
            if name == "image_id":
                rows[3]["image_id"] = f"{listener.url}/x.png"
            else:
                for row in rows:
                    row["image"] = f"pictures/{row['image_id']}"
                rows[3]["image"] = f"{listener.url}/x.png"
            import json

            Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            given = box.train_arguments()
            if name == "image":
                at = given.index("--image_dir")
                del given[at : at + 2]
            result = box.train_bare(*given)
            box.asked = list(listener.requests)
        return result

    return run


def _nobody_asked(box: Box, result: Result) -> str:
    return f"the listener was asked: {box.asked}" if box.asked else refused("picture")(box, result)


def cases(args) -> Iterator[Case]:
    """Each picture in training, with and without --skip_bad_images, and in evaluation."""
    for name, make in GOOD.items():
        yield Case("pictures", f"train: {name}", _train(make), works(model_is_whole))
        yield Case("pictures", f"eval: {name}", _evaluate(make), works())
    for name, make in (BAD | MAY).items():
        right = either("picture", check=model_is_whole) if name in MAY else refused("picture", "train-")
        yield Case("pictures", f"train: {name}", _train(make), right)
        yield Case("pictures", f"skipped: {name}", _train(make, "--skip_bad_images"), works(model_is_whole))
        yield Case("pictures", f"eval: {name}", _evaluate(make), either("3.png") if name in MAY else refused("3.png"))
    special: dict[str, Make] = {
        "a FIFO": lambda path: (path.unlink(missing_ok=True), os.mkfifo(path)),
        "a folder": lambda path: (path.unlink(missing_ok=True), path.mkdir()),
        "missing": lambda path: path.unlink(missing_ok=True),
        **{
            f"a link to {target}": (lambda path, t=target: (path.unlink(missing_ok=True), path.symlink_to(t)))
            for target in (
                "/dev/zero",
                "/dev/random",
                "/dev/stdin",
                "/etc/passwd",
                "nowhere",
                "/proc/self/mem",
                "/proc/self/environ",
                "/dev/tty",
                "/",
            )
        },
        "a link to itself": lambda path: (path.unlink(missing_ok=True), path.symlink_to(path.name)),
        "300 MB of zeros": lambda path: (path.write_bytes(b""), os.truncate(path, 300 * 2**20)),
        "1 TB, sparse": lambda path: (path.write_bytes(b""), os.truncate(path, 2**40)),
        "a socket": lambda path: _socket(path),
    }
    for name, make in special.items():
        yield Case(
            "pictures",
            f"train: {name}",
            _train(lambda path, m=make: (path.write_bytes(b""), m(path))),
            refused("picture"),
        )
        yield Case(
            "pictures",
            f"skipped: {name}",
            _train(lambda path, m=make: (path.write_bytes(b""), m(path)), "--skip_bad_images"),
            works(model_is_whole),
        )
        yield Case("pictures", f"eval: {name}", _evaluate(make), refused("3.png"))
    yield Case("pictures", "train: no permission", _denied, refused("picture", "permission"))
    for name in ("image_id", "image"):
        yield Case("pictures", f"train: an address as {name}", _fetched(name), _nobody_asked)
    yield Case("pictures", "all pictures bad, skipped", _all_bad, refused("picture"))


def _socket(path: Path) -> None:
    import socket

    path.unlink(missing_ok=True)
    socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))


def _all_bad(box: Box) -> Result:
    box.pairs()
    for path in Path("pictures").iterdir():
        path.write_bytes(b"x")
    return box.train("--skip_bad_images")


def small_pictures() -> dict[str, bytes]:
    """Small good pictures in every format, to mutate."""
    from PIL import Image

    made = {}
    for kind, mode, options in (
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {"progressive": True}),
        ("PNG", "RGB", {}),
        ("PNG", "P", {}),
        ("PNG", "RGBA", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
        ("TIFF", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "RGB", {"compression": "jpeg"}),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "L", {"compression": "packbits"}),
        ("PPM", "RGB", {}),
        ("PPM", "1", {}),
        ("JPEG2000", "RGB", {}),
        ("AVIF", "RGB", {}),
    ):
        buffer = io.BytesIO()
        picture = Image.linear_gradient("L").resize((24, 20)).convert(mode)
        try:
            exif = Image.Exif()
            exif[0x0112] = 6
            picture.save(
                buffer, kind, **({"exif": exif} if kind in ("JPEG", "WEBP", "PNG", "TIFF") else {}), **options
            )
        except (KeyError, OSError, ValueError):
            continue
        made[f"{kind} {mode} {options}"] = buffer.getvalue()
    return made
