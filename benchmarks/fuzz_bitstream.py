"""Damaged streams must end in BitstreamError or in a picture, within five seconds and one gibibyte, never in a crash.

    python benchmarks/fuzz_bitstream.py --streams 20000 --seed 1 [--model FOLDER]

Streams are decoded in a child process under limits; when it dies, the stream is counted as a failure and a new child
resumes. Prints what became of every kind of damage and exits with 1 if any stream failed.
"""

import argparse
import faulthandler
import json
import random
import resource
import subprocess
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from balle_li.boxes import Box
from balle_li.codec.bitstream import MAGIC, Stream
from balle_li.codec.codec import Codec
from balle_li.errors import BitstreamError

SECONDS, MEMORY = 5.0, 2**30
GOLDEN_MODEL = Path(__file__).parents[1] / "tests" / "codec" / "golden" / "balle-li-roi" / "model"


def truncated(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def bits_flipped(data: bytes, dice: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def bits_flipped_with_valid_checksum(data: bytes, dice: random.Random) -> bytes:
    return sealed(bits_flipped(data[:-4], dice))


def truncated_with_valid_checksum(data: bytes, dice: random.Random) -> bytes:
    return sealed(truncated(data[:-4], dice))


def random_bytes(data: bytes, dice: random.Random) -> bytes:
    return dice.choice((b"", MAGIC, data[:5], data[:14])) + dice.randbytes(dice.randrange(300))


def random_bytes_with_valid_checksum(data: bytes, dice: random.Random) -> bytes:
    return sealed(data[:14] + dice.randbytes(dice.randrange(300)))


def lying_size(data: bytes, dice: random.Random) -> bytes:
    stream = Stream.unpack(data)
    width, height = (
        dice.choice((side, 1, dice.randrange(1, 2 ** dice.randrange(1, 34)))) for side in (stream.width, stream.height)
    )
    return Stream(stream.fingerprint, width, height, stream.grey, stream.sections).pack()


def lying_sections(data: bytes, dice: random.Random) -> bytes:
    stream = Stream.unpack(data)
    sections = dict(stream.sections)
    for _ in range(dice.randrange(1, 4)):
        tag = dice.choice((1, 2, 3, 4, 5, 16, 64, 65, 66, 67, dice.randrange(128)))
        content = dice.choice(
            (b"", dice.randbytes(dice.randrange(2000)), zlib.compress(bytes(dice.randrange(2**20))), *sections.values())
        )
        sections[tag] = content
    return Stream(stream.fingerprint, stream.width, stream.height, dice.random() < 0.5, sections).pack()


def of_another_model(data: bytes, dice: random.Random) -> bytes:
    return sealed(data[:6] + dice.randbytes(8) + data[14:-4])


DAMAGE: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    truncated, bits_flipped, bits_flipped_with_valid_checksum, truncated_with_valid_checksum, random_bytes,
    random_bytes_with_valid_checksum, lying_size, lying_sections, of_another_model,
)  # fmt: skip


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def sound_streams(codec: Codec) -> list[bytes]:
    """Streams of several sizes, modes and contents."""
    dice = np.random.default_rng(0)
    streams = []
    for mode, channels in (("L", 1), ("RGB", 3), ("RGBA", 4)):
        for height, width in ((1, 1), (17, 40), (64, 64), (100, 300)):
            noise = dice.integers(0, 256, (height, width, channels), dtype=np.uint8)
            ramp = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None] + np.zeros_like(noise)
            for pixels in (noise, ramp):
                image = Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels, mode)
                image.info |= (
                    {"icc_profile": b"profile" * 20, "xmp": b"tag" * 9, "dpi": (300, 300)} if width == 40 else {}
                )
                boxes = [Box(0.2, 0.1, 0.6, 0.9, "face")] if codec.variable_rate and width == 300 else []
                streams.append(codec.compress(image, boxes=boxes))
    return streams


def work(folder: str, seed: int, start: int, stop: int) -> None:
    """The child: decode streams [start, stop), naming each before it begins; JSON lines on standard output."""
    codec = Codec.load(folder, "cpu")
    streams = sound_streams(codec)
    for data in streams:
        codec.decompress(data)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    for index in range(start, stop):
        dice = random.Random(f"{seed}:{index}")
        damage = dice.choice(DAMAGE)
        data = damage(dice.choice(streams), dice)
        print(json.dumps({"begin": index, "kind": damage.__name__}), flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        begin = time.perf_counter()
        try:
            codec.decompress(data).load()
            outcome = "picture"
        except BitstreamError as error:
            outcome = "BitstreamError" if "\n" not in str(error) else "message of several lines"
        except Exception:
            traceback.print_exc()
            outcome = "other exception"
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps({"outcome": outcome, "seconds": time.perf_counter() - begin}), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak}), flush=True)


def fuzz(folder: Path, streams: int, seed: int) -> tuple[Counter[tuple[str, str]], float, int]:
    """Outcomes by (kind of damage, outcome), the slowest stream's seconds, the children's peak memory in bytes."""
    outcomes: Counter[tuple[str, str]] = Counter()
    index, slowest, peak = 0, 0.0, 0
    while index < streams:
        command = [
            sys.executable,
            __file__,
            "--work",
            str(index),
            "--streams",
            str(streams),
            "--seed",
            str(seed),
            "--model",
            str(folder),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            kind, began = "", False
            for line in child.stdout:
                event = json.loads(line)
                if "begin" in event:
                    index, kind, began = event["begin"] + 1, event["kind"], True
                elif "outcome" in event:
                    outcomes[kind, event["outcome"]] += 1
                    slowest, began = max(slowest, event["seconds"]), False
                else:
                    peak = max(peak, event["peak"])
        if began:
            outcomes[kind, f"process ended with {child.returncode}"] += 1
            print(f"stream {index - 1} ({kind}) ended the process with {child.returncode}", file=sys.stderr)
        elif child.returncode != 0:
            raise SystemExit(f"the child failed outside a stream, exit code {child.returncode}")
    return outcomes, slowest, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--model", type=Path, default=GOLDEN_MODEL, help="model folder; default: the tests' golden model"
    )
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work is not None:
        work(str(arguments.model), arguments.seed, arguments.work, arguments.streams)
        return
    outcomes, slowest, peak = fuzz(arguments.model, arguments.streams, arguments.seed)
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:34} {outcome:32} {count:6}")
    failed = sum(count for (_, outcome), count in outcomes.items() if outcome not in ("picture", "BitstreamError"))
    print(
        f"{sum(outcomes.values())} streams, {failed} failed; slowest {slowest:.2f} s, peak memory {peak / 2**20:.0f} MiB"
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
