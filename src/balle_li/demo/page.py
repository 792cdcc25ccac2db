"""The page `balle-li demo`: a photograph, boxes drawn on it, a size, and what Balle-Li and other codecs make of it.

Gradio carries it. Nothing on it comes from the network: no fonts, no scripts, no telemetry.
"""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from balle_li.codec.codec import Codec
from balle_li.errors import BalleLiError

os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}  # before gradio is imported

try:
    import gradio as gr
    from gradio_image_annotation import image_annotator
except ImportError:
    raise BalleLiError("the page needs gradio: pip install 'balle-li[demo]'") from None

from balle_li.demo import views
from balle_li.demo.answers import BOX_COLOURS, BOX_WEIGHTS, Answers, Session
from balle_li.demo.trials import released_models

FIRST_SAMPLE = "coffee"
_LARGEST_UPLOAD = "512mb"
_FONTS = ["system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Liberation Sans", "sans-serif"]  # of the user's machine
_VIEWER = """
<div class="bar"><span class="choices"></span><span class="ramp" hidden><span class="low"></span><i></i>
<span class="high"></span></span><span class="space"></span><button type="button" data-zoom="fit">Fit</button>
<button type="button" data-zoom="1">1 : 1</button><button type="button" data-zoom="4">4 : 1</button>
<span class="scale"></span></div>
<div class="stage" aria-label="The photograph in its versions; the wheel zooms, dragging moves"></div>
"""
_DRAW = """() => document.querySelector('#drawn [aria-label="Create box"]')?.click()"""  # in place of moving boxes
_CHOOSE = """
element.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button) trigger("select", { value: button.dataset.name });
});
"""


def serve(model: Path | None, host: str, port: int | None, device: str, open_browser: bool) -> None:
    """Serve the page until Ctrl-C.

    model: the folder of a variable-rate model; None: all that ship with the package. port: None takes the first free one
    from 7860 on. device: see `Codec.load`.

    Raises BalleLiError: a model cannot be loaded or has one rate, or the port is taken.
    """
    folders = released_models() if model is None else {"yours": model}
    codecs = {title: Codec.load(folder, device) for title, folder in folders.items()}
    with tempfile.TemporaryDirectory(prefix="balle-li-demo-") as folder:
        blocks = start(codecs, Path(folder), host, port, open_browser)
        print(f"The page is at {blocks.local_url} (Ctrl-C ends it)", flush=True)
        # Gradio prints a line for every file of the component that boxes are drawn with.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            blocks.block_thread()
    # A thread of Gradio's may still be encoding, and Python aborts with a message when it is torn down around one.
    os._exit(0)


def start(
    codecs: Mapping[str, Codec],
    folder: Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = False,
) -> gr.Blocks:
    """Serve the page in the background, until `close` of what is returned; `folder` holds its files meanwhile.

    Raises BalleLiError as `serve` does.
    """
    for codec in codecs.values():
        if not codec.variable_rate:
            raise BalleLiError(f"{codec.name} has one rate; the page needs a variable-rate model")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # of what people upload
    blocks = build(Answers(codecs, folder))
    try:
        blocks.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            theme=gr.themes.Base(
                primary_hue="blue", neutral_hue="slate", spacing_size="sm", font=_FONTS, font_mono=["monospace"]
            ),
            css=_text("page.css"),
            allowed_paths=[str(folder)],
            max_file_size=_LARGEST_UPLOAD,
            footer_links=[],
            run_history=False,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            enable_monitoring=False,
        )
    except OSError as error:
        raise BalleLiError(f"the page cannot listen at {host}, port {port or '7860 to 7959'}: {error}") from error
    return blocks


def build(answers: Answers) -> gr.Blocks:
    """The parts of the page, and what each of them sets off."""
    models, titles = list(answers.codecs), answers.titles
    with gr.Blocks(title="Balle-Li", analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as blocks:
        session = gr.State(Session(), delete_callback=Session.close)
        gr.HTML(
            "<h1>Balle-Li</h1><p>Learned image compression that spends its bits where people look</p>", elem_id="head"
        )
        with gr.Row():
            with gr.Column(scale=0, min_width=400, elem_id="controls"):
                with gr.Row(elem_id="open"):
                    file = gr.File(label="Open", show_label=False, height=56, elem_id="file", min_width=230)
                    save = gr.DownloadButton(
                        "Save the .bli", interactive=False, variant="primary", elem_id="save", min_width=120
                    )
                drawn = image_annotator(
                    label="Draw boxes around what counts",
                    label_list=list(BOX_WEIGHTS),
                    label_colors=list(BOX_COLOURS),
                    use_default_label=True,
                    sources=[],
                    image_type="pil",
                    boxes_alpha=0.12,
                    handle_size=6,
                    height=290,
                    show_clear_button=False,
                    show_download_button=False,
                    show_share_button=False,
                    show_remove_button=True,
                    elem_id="drawn",
                )
                size = gr.Slider(1, 100, 20, step=0.1, label="Size of the file (kB)", interactive=False, elem_id="size")
                weight = gr.Slider(0, 3, 1, step=0.25, label="How much the boxes count", elem_id="weight")
                model = gr.Radio(models, value=models[0], label="Model", visible=len(models) > 1, elem_id="model")
                samples = gr.HTML(views.thumbnails(answers.samples), js_on_load=_CHOOSE, elem_id="samples")
            with gr.Column(scale=1, min_width=640, elem_id="results"):
                codec = gr.Radio(
                    [(title, name) for name, title in titles.items()],
                    value=next(iter(titles)),
                    label="Beside it, at the same size",
                    elem_id="codec",
                )
                line = gr.HTML(elem_id="line")
                viewer = gr.HTML(
                    {},
                    html_template=_VIEWER,
                    css_template=_text("viewer.css"),
                    js_on_load=_text("viewer.js"),
                    apply_default_css=False,
                    elem_id="viewer",
                )
                table = gr.HTML(elem_id="table")
                strip = gr.HTML(elem_id="strip")

        def sample_chosen(session: Session, chosen: gr.EventData) -> tuple[Any, ...]:
            return answers.open_sample(chosen.value, session)

        def first_sample(session: Session) -> tuple[Any, ...]:
            return answers.open_sample(FIRST_SAMPLE, session)

        # "multiple": by default Gradio drops what is set off while an earlier call is still at work.
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}
        opened = [drawn, line, viewer, table, save]
        answer = quiet | {"concurrency_id": "answer", "concurrency_limit": 1}
        answer |= {"fn": answers.answer, "inputs": [drawn, weight, model, session]}
        answer |= {"outputs": [viewer, table, line, size, save], "show_progress": "minimal", "show_progress_on": table}
        compare = quiet | {"concurrency_id": "compare", "concurrency_limit": 1}
        compare |= {"fn": answers.compare, "inputs": [codec, session], "outputs": [viewer, table, line]}
        curves = quiet | {"concurrency_id": "curves", "concurrency_limit": 1}
        curves |= {"fn": answers.curves, "inputs": session, "outputs": strip}
        for event in (
            blocks.load(first_sample, session, opened, **quiet),
            samples.select(sample_chosen, session, opened, **quiet),
            file.upload(answers.open_file, [file, session], [*opened, file], **quiet),
        ):
            event.then(None, js=_DRAW)
            answered = event.then(**answer)
            answered.then(**compare)
            answered.then(**curves)
        size.release(answers.resize, [size, session], **quiet).then(**answer).then(**compare)
        gr.on([drawn.change, weight.release, model.change], **answer).then(**compare)
        codec.change(**compare)
    return blocks


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
