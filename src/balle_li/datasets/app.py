"""The curated pictures in FiftyOne's App.

Saved views show what was dropped and why. The App hands out any file of this machine to whoever can reach its port, so
it listens on the loopback address only.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from balle_li.errors import DatasetError

ADDRESS = "127.0.0.1"


def serve(dataset: Any, port: int) -> None:
    """Show a dataset of `open_curated` on `port` and wait for Ctrl-C. Raises DatasetError: the port is taken."""
    check_port(port)
    from balle_li.datasets.fiftyone_database import connect

    kept = dataset.load_saved_view("kept")
    with contextlib.redirect_stdout(None):  # while the server starts, its client prints that it cannot connect yet
        session = connect().launch_app(dataset, view=kept, remote=True, address=ADDRESS, port=port, auto=False)
    print(
        f"FiftyOne shows {len(kept)} kept pictures at http://{ADDRESS}:{port}; its saved views show what was dropped, "
        "and on which test pictures models do worst."
    )
    print(f"Ctrl-C ends it. From another machine: ssh -L {port}:{ADDRESS}:{port} {socket.gethostname()}", flush=True)
    try:
        session.wait(-1)
    except KeyboardInterrupt:
        print("\nClosing the App; the pictures and what was added to them stay.", flush=True)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, its client would print that it cannot connect any more
        _end_server()
        raise


def _end_server() -> None:
    """End the web server of this process, which else waits half a minute for browsers that look at it to go away."""
    import psutil  # type: ignore[import-untyped]

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.cmdline()[2:4] == ["--51-service", "server"]:  # which watches over the server itself
                for process in (*child.children(recursive=True), child):
                    process.kill()


def open_curated(raw: Path, curated: Path) -> Any:
    """The FiftyOne dataset of a curation; made again from its files when the database has that of another one."""
    from balle_li.datasets import curated_dataset
    from balle_li.datasets.manifest import read_dropped, read_manifest
    from balle_li.files import sha256_file

    manifest, dropped = read_manifest(curated / "manifest.parquet"), read_dropped(curated / "dropped.parquet")
    sha256 = sha256_file(curated / "manifest.parquet")
    dataset = curated_dataset.published(raw, sha256)
    if dataset is not None:
        return dataset
    pictures = _pictures(raw, manifest, dropped)
    with curated_dataset.building(raw, pictures, len(manifest) + len(dropped)) as dataset:
        drops = {row["image_id"]: row for row in dropped}
        for field, column in (("dropped", "reason"), ("detail", "detail")):
            values = {image_id: row[column] for image_id, row in drops.items()}  # type: ignore[literal-required]
            dataset.set_values(field, values, key_field="image_id")
        curated_dataset.mark(dataset, {row["image_id"]: row["split"] for row in manifest})
        curated_dataset.publish(dataset, raw, sha256)
    return dataset


def _pictures(raw: Path, manifest: Sequence[Any], dropped: Sequence[Any]) -> Iterator[Any]:
    from balle_li.boxes import upright_boxes, upright_turns
    from balle_li.datasets.curated_dataset import FACTS, Picture, shown_size
    from balle_li.datasets.pictures import exif_orientation

    for row in manifest:
        boxes, size = row["boxes"], (row["width"], row["height"])
        if row["rotation"] % 360:  # the App does not apply it
            orientation = exif_orientation(raw / row["path"])
            turns = upright_turns(orientation, row["rotation"])[1]
            boxes = upright_boxes([box.rotated(-turns) for box in boxes], orientation)
            size = shown_size(*size, orientation, row["rotation"])
        yield Picture(row["image_id"], row["path"], boxes, size, {name: row[name] for name in FACTS if name in row})
    for row in dropped:
        yield Picture(row["image_id"], row["path"], [], None, {})


def check_port(port: int) -> None:
    """Raises DatasetError when another process listens on `port`."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((ADDRESS, port))
        return
    raise DatasetError(f"port {port} is taken: end what uses it, or choose another with --port")
