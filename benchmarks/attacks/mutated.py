"""Small good pictures after random damage, through the decoder: anything but ValueError is an escape."""

from __future__ import annotations

import os
import random
import resource
import signal
import struct
import traceback
from collections.abc import Iterator
from pathlib import Path

from .box import Box, Case
from .pictures import small_pictures

CHUNK = 2500
PATIENCE = 20  # seconds for one picture
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip, overwrite, cut, insert, double, swap or splice: one to four times."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(changed)) if rng.random() < 0.5 else rng.randrange(min(len(changed), 64))
        size = rng.choice((1, 2, 4, 8, 32))
        kind = rng.randrange(8)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + size] = rng.randbytes(size)
        elif kind == 2:
            changed = changed[: max(1, at)]
        elif kind == 3:
            changed[at:at] = rng.randbytes(size)
        elif kind == 4:
            changed[at : at + size] = bytes([rng.choice(INTERESTING)]) * size
        elif kind == 5:  # two pieces change places
            other = rng.randrange(len(changed))
            changed[at : at + size], changed[other : other + size] = (
                changed[other : other + size],
                changed[at : at + size],
            )
        elif kind == 6:
            number = rng.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1))
            changed[at : at + 4] = struct.pack(rng.choice("<>") + "I", number)
        else:
            del changed[at : at + size]
        if not changed:
            changed = bytearray(b"\0")
    return bytes(changed)


def picture(number: int, seed: int, originals: list[bytes]) -> bytes:
    """The mutated picture of this number."""
    rng = random.Random(f"{seed} {number}")
    return mutate(rng.choice(originals), rng)


def _chunk(start: int, stop: int):
    def run(box: Box) -> dict:
        from transformers import AutoProcessor

        from modeling_paraclip.pictures import Decoder, PixelValues, open_picture

        originals = list(small_pictures().values())
        preprocess = PixelValues(AutoProcessor.from_pretrained(box.fixtures / "tiny").image_processor)
        now = os.open(f"{box.folder}.now", os.O_CREAT | os.O_WRONLY)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process: a decoder in C sees no exception
        problems = []
        most = 2**20 * 4 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(start, stop):
            data = picture(number, box.seed, originals)
            os.pwrite(now, f"{number:09d}".encode(), 0)
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)
            try:
                if number % 4:
                    opened = open_picture(data)
                    assert opened.mode == "RGB" and min(opened.size) > 0
                else:
                    _, pixels, problem = Decoder([{"path": "x", "bytes": data}], preprocess, frozenset())[0]
                    assert problem if pixels is None else bool(pixels.isfinite().all())
            except ValueError:
                pass
            except BaseException:
                problems.append(f"picture {number}: {traceback.format_exc()[-1500:]}")
            signal.setitimer(signal.ITIMER_REAL, 0)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > most:
            problems.append("more than 4 GB")
        return {"tried": stop - start, "wrong": len(problems), "problems": problems}

    return run


def cases(args) -> Iterator[Case]:
    """So many mutated pictures, in pieces."""
    for start in range(0, args.pictures, CHUNK):
        stop = min(start + CHUNK, args.pictures)
        yield Case("mutated", f"pictures {start} to {stop - 1}", _chunk(start, stop), deadline=900)


def show(number: int, seed: int = 0) -> Path:
    """Write the mutated picture of a number to /tmp, to look at it."""
    path = Path(f"/tmp/mutated-{number}")
    path.write_bytes(picture(number, seed, list(small_pictures().values())))
    return path
