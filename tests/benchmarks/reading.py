"""Decoding: gate and decode a film in this process and in a decoder process.

What the second costs more is carrying the object there and the picture back.
"""

from pydicom.uid import JPEG2000Lossless

from daemon.analyse.decoder_pool import DecoderLimits, DecoderPool
from daemon.analyse.gate_and_decode import Film, gate_and_decode
from dicom_io.gate.rules import DEFAULT_RULES
from tests.benchmarks.timing import in_turn, seconds, show
from tests.builders.images.films import chest_film, chest_values, file_bytes

SIDES = (2048, 3000, 4096)
RUNS = 9


def run() -> None:
    """Print the milliseconds for each size, uncompressed, and for one in JPEG 2000."""
    pool = DecoderPool(DecoderLimits(seconds=300))
    pool.warm_up()
    for side in SIDES:
        film = chest_film(chest_values(side, side))
        _compare(pool, f"{side} x {side} x 12 bit, uncompressed", file_bytes(film))
    film = chest_film(chest_values(2048, 2048))
    film.compress(JPEG2000Lossless, generate_instance_uid=False)
    _compare(pool, "2048 x 2048 x 12 bit, JPEG 2000", file_bytes(film))
    print(f"starting a reader: {1000 * seconds(_start):.0f} ms")


def _compare(pool: DecoderPool, name: str, data: bytes) -> None:
    assert isinstance(pool.gate_and_decode(data), Film)
    values = in_turn(
        RUNS,
        here=lambda: 1000 * seconds(lambda: gate_and_decode(data, DEFAULT_RULES)),
        reader=lambda: 1000 * seconds(lambda: pool.gate_and_decode(data)),
    )
    print(f"{name}, {len(data) / 2**20:.0f} MiB")
    show(values, "ms", baseline="here")


def _start() -> None:
    DecoderPool(DecoderLimits()).warm_up()
