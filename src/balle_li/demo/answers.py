"""The answers to what people do on the page: open a photograph, draw boxes, move the size, choose a codec.

One answer is computed at a time, whoever asked. The search for a classical codec's setting and the rate–distortion strip go
on in the background: between two files they wait while an answer is computed, and they end when something else was asked
for meanwhile.
"""

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from balle_li.boxes import Box
from balle_li.codec.bitstream import MAGIC
from balle_li.codec.codec import Codec
from balle_li.demo import trials, views
from balle_li.demo.trials import Coded, Compressed, Figures, ModelTrial, Photograph, Pixels, Point
from balle_li.errors import BalleLiError

BOX_WEIGHTS = {"counts 1 ×": 1.0, "counts 2 ×": 2.0, "counts ½ ×": 0.5}
"""What a box may be labelled, and the weight that the label stands for."""
BOX_COLOURS = [(0, 114, 178), (213, 94, 0), (0, 158, 115)]
_DRAWN_SIDE = 1024  # pixels of the picture that boxes are drawn on
_UNCHANGED = (gr.skip(),)  # a generator that yields nothing would empty the parts of the page that it is to fill
_BOARD_ASPECT, _MARGIN_COLOUR = 4 / 3, (27, 29, 33)
_SLIDER_REACH = 3.5  # from the size of quality 50, either way


@dataclass
class Session:
    """What one open page is about.

    turn: counts what was asked for, so that an answer sees that it is outdated. size: bytes that files may have, None until
    the first answer. asked: what the last answer is to; compared: the file and the codec that the last comparison is of.
    """

    folder: Path | None = None
    photograph: Photograph | None = None
    turn: int = 0
    size: int | None = None
    asked: object = None
    compared: object = None
    boxes: tuple[Box, ...] = ()
    compressed: Compressed | None = None
    figures: Figures | None = None
    classical: tuple[str, Coded] | None = None
    classical_figures: Figures | None = None

    def restart(self, photograph: Photograph | None = None, compressed: Compressed | None = None) -> None:
        """Forget all but the folder, and be about another photograph or file."""
        self.__init__(self.folder, photograph, self.turn + 1, compressed=compressed)  # type: ignore[misc]

    def still(self, compared: tuple[object, str]) -> bool:
        """Whether that comparison is still the one that is asked for."""
        return self.compared == compared and self.compressed is compared[0]

    def close(self) -> None:
        """Remove its files."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


class Answers:
    """codecs: the models to choose from, by title. folder: for the pictures that browsers fetch."""

    def __init__(self, codecs: Mapping[str, Codec], folder: Path) -> None:
        self.codecs, self._folder = codecs, folder
        self.titles = trials.classical_titles()
        self.samples = trials.samples()
        self._answering = threading.Lock()

    def open_file(self, path: str, session: Session) -> tuple[Any, ...]:
        """A photograph or a .bli file from the user's disk. What cannot be opened leaves the page as it was."""
        name = Path(path).name
        try:
            data = Path(path).read_bytes()
            if data.startswith(MAGIC) or name.lower().endswith(".bli"):
                return *self._shown_stream(name, data, session), None
            return *self._shown_photograph(trials.open_photograph(Path(path), name), [], session), None
        except BalleLiError as error:
            message = str(error) if str(error).startswith(name) else f"{name}: {error}"
            return gr.skip(), views.line(message, failed=True), *_UNCHANGED * 3, None
        finally:
            Path(path).unlink(missing_ok=True)

    def open_sample(self, name: str, session: Session) -> tuple[Any, ...]:
        """A photograph of the sample, with its boxes."""
        sample = self.samples[name]
        return self._shown_photograph(trials.open_photograph(sample.path, name), sample.boxes, session)

    def resize(self, kilobytes: float, session: Session) -> None:
        """Set the size that files may have from now on."""
        session.size = max(1, round(kilobytes * 1000))

    def answer(
        self, drawn: dict[str, Any] | None, weight: float, model: str, session: Session
    ) -> Iterator[tuple[Any, ...]]:
        """Compress the photograph as it is set now: first the picture, then how good it is."""
        photograph, size = session.photograph, session.size
        boxes = () if photograph is None else _boxes(drawn, photograph.pixels, weight)
        if photograph is None or (boxes, size, model) == session.asked:
            yield _UNCHANGED * 5
            return
        session.turn += 1
        turn = session.turn
        with self._answering:
            made = self._trial(model, photograph).compress(size, boxes)
        if session.turn != turn:
            yield _UNCHANGED * 5
            return
        slider: Any = gr.skip()
        if size is None:
            size = session.size = len(made.data)
            low, middle, high = (round(size * factor / 1000, 1) for factor in (1 / _SLIDER_REACH, 1, _SLIDER_REACH))
            slider = gr.Slider(low, high, middle, interactive=True)
        session.asked, session.boxes, session.compressed = (boxes, size, model), boxes, made
        session.figures = session.classical = session.classical_figures = None
        save = self._saved(photograph.name, made.data, session)
        yield (
            self._view(session),
            self._table(session),
            views.line(photograph.note),
            slider,
            save,
        )
        found = trials.measure(photograph.pixels, made.decoded, boxes)
        if session.turn == turn:
            session.figures = found
            yield gr.skip(), self._table(session), *_UNCHANGED * 2, save

    def compare(self, name: str, session: Session) -> Iterator[tuple[Any, ...]]:
        """What the classical codec `name` makes of as many bytes."""
        photograph, made = session.photograph, session.compressed
        asked = (made, name)
        if photograph is None or made is None or session.compared == asked:
            yield _UNCHANGED * 3
            return
        session.compared, session.classical, session.classical_figures = asked, None, None
        title, coded = self.titles[name], None
        try:
            for coded in trials.classical_at(name, photograph, len(made.data)):
                if not session.still(asked):
                    yield _UNCHANGED * 3
                    return
                yield gr.skip(), self._table(session, f"{title}, {coded.setting}", coded.size), gr.skip()
                self._wait()
        except BalleLiError as error:
            yield gr.skip(), gr.skip(), views.line(str(error), failed=True)
            return
        assert coded is not None
        if session.still(asked):
            session.classical = title, coded
            yield self._view(session), self._table(session), gr.skip()
        found = trials.measure(photograph.pixels, coded.decoded, session.boxes)
        if session.still(asked):
            session.classical_figures = found
            yield gr.skip(), self._table(session), gr.skip()

    def curves(self, session: Session) -> Iterator[str]:
        """The rate–distortion strip of the photograph, point by point."""
        photograph = session.photograph
        if photograph is None:
            yield ""
            return
        work: dict[str, tuple[int, Callable[[], Iterator[Point]]]] = {
            self._model_title(model): (len(trials.SWEEP), self._trial(model, photograph).curve) for model in self.codecs
        }
        for name, title in self.titles.items():
            work[title] = trials.SWEEP_POINTS, partial(trials.classical_curve, name, photograph)
        done, of = 0, sum(count for count, _ in work.values())
        curves: dict[str, list[Point]] = {}
        plot = ""
        for title, (count, points) in work.items():
            yield views.strip(plot, done, of, title)
            found = []
            try:
                for point in points():
                    if session.photograph is not photograph:
                        return
                    found.append(point)
                    done += 1
                    yield views.strip(plot, done, of, title)
                    self._wait()
            except BalleLiError:  # a codec that cannot take the photograph has no curve
                of -= count - len(found)
            if found:
                curves[title] = found
                plot = views.plot(curves)
        yield views.strip(plot, of, of, "")

    def _trial(self, model: str, photograph: Photograph) -> ModelTrial:
        if model not in photograph.trials:
            photograph.trials[model] = ModelTrial(self.codecs[model], photograph.pixels)
        return photograph.trials[model]

    def _wait(self) -> None:
        """Let answers that are being computed go first."""
        with self._answering:
            pass

    def _shown_photograph(self, photograph: Photograph, boxes: list[Box], session: Session) -> tuple[Any, ...]:
        session.restart(photograph)
        return (
            _drawable(photograph.pixels, boxes),
            views.line(photograph.note),
            self._view(session),
            "",
            gr.skip(),
        )

    def _shown_stream(self, name: str, data: bytes, session: Session) -> tuple[Any, ...]:
        with self._answering:
            codec, made = trials.open_stream(data, list(self.codecs.values()))
        session.restart(compressed=made)
        height, width = made.decoded.shape[:2]
        note = f"{name} holds {width} × {height} pixels, made by {codec.name}. Without the original there is nothing to compare."
        return (
            _drawable(made.decoded, []),
            views.line(note),
            self._view(session),
            self._table(session),
            self._saved(name, data, session),
        )

    def _model_title(self, model: str) -> str:
        return f"Balle-Li, {model}" if len(self.codecs) > 1 else "Balle-Li"

    def _view(self, session: Session) -> dict[str, Any]:
        """What viewer.js draws."""
        photograph, made = session.photograph, session.compressed
        layers, maps = [], []
        if photograph is not None:
            height, width = photograph.pixels.shape[:2]
            layers.append((f"Original · {width} × {height}", photograph.pixels))
        if made is not None:
            maps = views.overlays(made, next(iter(self.codecs.values())).downsampling)
            layers.append((f"Balle-Li · {views.kilobytes(len(made.data))}", made.decoded))
        if session.classical is not None:
            title, coded = session.classical
            layers.append((f"{title} · {views.kilobytes(coded.size)}", coded.decoded))
        height, width = layers[0][1].shape[:2]
        return {
            "key": f"{id(photograph)} {width} {height}",
            "width": width,
            "height": height,
            "layers": [{"title": title, "url": self._url(pixels, session)} for title, pixels in layers],
            "ours": 0 if photograph is None else 1,
            "overlays": maps,
        }

    def _url(self, pixels: Pixels, session: Session) -> str:
        """Where browsers fetch a picture, as BMP, which costs no time to write. A new picture has a new address."""
        path = self._session_folder(session) / f"{id(pixels)}.bmp"
        if not path.exists():
            Image.fromarray(pixels).save(path)
        return f"./gradio_api/file={path}"

    def _saved(self, name: str, data: bytes, session: Session) -> gr.DownloadButton:
        """The button that saves a .bli file, named as the photograph is."""
        path = self._session_folder(session) / f"{Path(name).stem}.bli"
        path.write_bytes(data)
        return gr.DownloadButton(value=str(path), interactive=True)

    def _session_folder(self, session: Session) -> Path:
        if session.folder is None:
            session.folder = self._folder / uuid.uuid4().hex
            session.folder.mkdir()
        return session.folder

    def _table(self, session: Session, trying: str = "", tried: int = 0) -> str:
        photograph, made = session.photograph, session.compressed
        if made is None:
            return ""
        rows = [("Balle-Li" + (f": {made.limit}" if made.limit else ""), len(made.data), session.figures)]
        if trying:
            rows.append((f"trying {trying}", tried, None))
        elif session.classical is not None:
            title, coded = session.classical
            limit = f": {coded.limit}" if coded.limit else ""
            rows.append((f"{title}, {coded.setting}{limit}", coded.size, session.classical_figures))
        return views.table(rows, made.decoded, photograph is not None, bool(session.boxes))


def _drawable(pixels: Pixels, boxes: list[Box]) -> dict[str, Any]:
    """What boxes are drawn on: the picture, no larger than need be, and the boxes that it has."""
    image = Image.fromarray(pixels)
    image.thumbnail((_DRAWN_SIDE, _DRAWN_SIDE))
    width, height = image.size
    # A tall picture stands between margins, so that the page keeps its height.
    board = Image.new("RGB", (max(width, round(height * _BOARD_ASPECT)), height), _MARGIN_COLOUR)
    left = (board.width - width) // 2
    board.paste(image, (left, 0))
    corners = [
        {
            "xmin": left + round(box.xmin * width),
            "ymin": round(box.ymin * height),
            "xmax": left + round(box.xmax * width),
            "ymax": round(box.ymax * height),
            "label": box.label,
            "color": BOX_COLOURS[0],
        }
        for box in boxes
    ]
    return {"image": board, "boxes": corners}


def _boxes(drawn: Mapping[str, Any] | None, pixels: Pixels, weight: float) -> tuple[Box, ...]:
    """The boxes that are drawn on what `_drawable` made of the picture, each with `weight` times what its label says."""
    if drawn is None or drawn["image"] is None:
        return ()
    across, height = drawn["image"].size
    width = min(across, round(height * pixels.shape[1] / pixels.shape[0]))
    left = (across - width) // 2
    found = (
        Box.clipped(
            (box["xmin"] - left) / width,
            box["ymin"] / height,
            (box["xmax"] - left) / width,
            box["ymax"] / height,
            box["label"],
            weight * BOX_WEIGHTS.get(box["label"], 1.0),
        )
        for box in drawn["boxes"]
    )
    return tuple(box for box in found if box is not None)
