"""The page where people try it: a wish and its rewordings, and what the base and ParaCLIP find for each.

    python space/app.py [--base DIR_OR_ID] [--model DIR_OR_ID] [--port 7860]

A Hugging Face Space runs it as it is, with the variables PARACLIP_BASE and PARACLIP_MODEL; README.md says how.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ |= {"GRADIO_ANALYTICS_ENABLED": "0", "TQDM_DISABLE": "1"}  # both are read when they are imported

import figure
import gradio as gr
import search
from search import Gallery, Model

from modeling_paraclip import BASE_MODEL_DIR
from modeling_paraclip.errors import InputError
from modeling_paraclip.pictures import MAX_BYTES

TITLE = "ParaCLIP: say it differently, find the same"
INTRO = (
    "People word one wish in many ways, and CLIP answers each of them differently. ParaCLIP fine-tunes CLIP's text "
    "tower so that a rewording finds what the wish found, in the same index of pictures."
)
NOTICE = (
    "There is no trained model yet, so both sides show the base. Train one with “python train.py” (about 3 minutes on "
    "two cores), then start this page again."
)
DRAWN, PICTURES, INDEX = "Drawn scenes", "My pictures", "My index of embeddings"
PRIVATE = "Uploaded files are deleted once they are read, and what is computed from them ends with this visit."
NEEDED = "The file holds ids (or image_id) and image_embeds, made with the image tower of this model. "
REWORDINGS = 3
EXAMPLES = 4
STYLE = Path(__file__).with_name("style.css")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line. In a Space, the environment says the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    base, model = (os.environ.get(name) or None for name in ("PARACLIP_BASE", "PARACLIP_MODEL"))
    parser.add_argument("--base", default=base or str(BASE_MODEL_DIR), help="default: the embedded base")
    parser.add_argument("--model", default=model, help="default: paraclip-out if it is there, else the base")
    parser.add_argument("--port", type=int, default=7860, help="default: 7860")
    args = parser.parse_args(argv)
    if args.model is None and Path("paraclip-out").is_dir():
        args.model = "paraclip-out"
    return args


def what_changed(model: str | None) -> str:
    """The tab of that name, from the results.json of the model."""
    try:
        rows = search.changes(search.results_of(model)) if model else []
    except InputError as error:
        return figure.problem(error)
    return (
        figure.changed(rows) if rows else figure.note("The folder of the model has no results.json with two models.")
    )


def examples_in(rows: Sequence[dict]) -> list[tuple[str, str, str]]:
    """The wish and its rewordings of the first rows whose caption is words alone, without the web's noise."""
    plain = [row for row in rows if re.fullmatch(r"(?!clipart)[a-z ,]+", row["caption"])]
    return [(row["caption"], row["paraphrase_1"], row["paraphrase_2"]) for row in plain[:EXAMPLES]]


def compared(models: Sequence[Model], gallery: Gallery | None, wordings: Sequence[str]) -> str:
    """The answer of the page, or what is wrong in one sentence."""
    if gallery is None:
        return figure.note("Choose your pictures or your index first.")
    try:
        texts = search.wordings_of(*wordings)
        return figure.answer(gallery, texts, [search.find(model, gallery, texts) for model in models])
    except InputError as error:
        return figure.problem(error)


def loaded_pictures(models: Sequence[Model], files: Sequence[str]) -> tuple[Gallery | None, str]:
    """A gallery of uploaded pictures, None if there is none, and what to say of it."""
    gallery, problems = search.uploaded_pictures(files, models)
    left_out = f" {len(problems)} left out: {'; '.join(problems[:3])}." if problems else ""
    return gallery, figure.note(f"{len(gallery.ids):,} pictures of yours.{left_out}")


def loaded_index(models: Sequence[Model], files: Sequence[str]) -> tuple[Gallery | None, str]:
    """A gallery of an uploaded index, and what to say of it."""
    gallery = search.uploaded_index(files[0], models)
    return gallery, figure.note(f"{len(gallery.ids):,} vectors of yours.")


def uploaded(load: Callable, models: Sequence[Model], files: str | Sequence[str] | None, earlier: Gallery | None):
    """`load` of files of a user, which are deleted whatever happens; what was there before stays if it fails."""
    paths = [files] if isinstance(files, str) else list(files or [])
    try:
        return load(models, paths) if paths else (earlier, figure.note("No file was chosen."))
    except InputError as error:
        return earlier, figure.problem(error)
    finally:
        for path in paths:
            Path(path).unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------------ the page
def build(
    models: Sequence[Model], drawn: Callable[[], Gallery], examples: Sequence[tuple], changed: str, notice: str
) -> gr.Blocks:
    """The page. What a user brings lives in the `gr.State` of the session; nothing else remembers anything.

    Args:
        drawn: gives the drawn scenes once they are embedded.
        examples: wishes with their rewordings; the first is there from the beginning.
        changed: HTML of the tab "What changed".
        notice: shown above everything, if there is something to say.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML(f"<header><h1>{TITLE}</h1><p>{INTRO}</p></header>{figure.note(notice) if notice else ''}")
        own_pictures, own_index = gr.State(None), gr.State(None)
        with gr.Tab("Try it"):
            first = [*examples[0], *[""] * REWORDINGS]
            wish = gr.Textbox(first[0], label="Wish", max_length=search.MAX_TEXT, elem_id="wish")
            with gr.Row():
                rewordings = [
                    gr.Textbox(
                        first[i],
                        label=f"Rewording {i}",
                        max_length=search.MAX_TEXT,
                        min_width=300,
                        elem_id=f"rewording-{i}",
                        elem_classes="rewording",
                    )
                    for i in range(1, REWORDINGS + 1)
                ]
            with gr.Row(elem_classes="examples"):
                chosen = [gr.Button(f"e.g. {example[0]}", size="sm", elem_classes="example") for example in examples]
            with gr.Row(elem_classes="controls"):
                with gr.Column(scale=3, min_width=320):
                    source = gr.Radio([DRAWN, PICTURES, INDEX], value=DRAWN, label="Search in", elem_id="source")
                    with gr.Row(visible=False) as picture_row:
                        folder = gr.UploadButton("Choose a folder", file_count="directory", elem_id="folder")
                        several = gr.UploadButton("Choose pictures", file_count="multiple", elem_id="pictures")
                    with gr.Row(visible=False) as index_row:
                        index = gr.UploadButton("Choose a .npz or .parquet file", elem_id="index")
                button = gr.Button("Compare", variant="primary", elem_id="compare", scale=1)
            status = gr.HTML(visible=False, elem_id="status")
            result = gr.HTML(elem_id="result")
        with gr.Tab("What changed"):
            gr.HTML(changed)

        def compare(where: str, pictures: Gallery | None, vectors: Gallery | None, *wordings: str) -> str:
            gallery = drawn() if where == DRAWN else {PICTURES: pictures, INDEX: vectors}.get(where)
            return compared(models, gallery, wordings)

        def show(where: str):
            return (
                gr.update(visible=where == PICTURES),
                gr.update(visible=where == INDEX),
                gr.update(visible=where != DRAWN, value=figure.note(f"{NEEDED if where == INDEX else ''}{PRIVATE}")),
            )

        texts = [wish, *rewordings]
        # one at a time: a tokenizer is not for several threads. Pictures have a queue of their own.
        asked = {
            "fn": compare,
            "inputs": [source, own_pictures, own_index, *texts],
            "outputs": result,
            "concurrency_id": "texts",
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        gr.on([button.click, *(text.submit for text in texts), page.load], **asked)
        source.change(show, source, [picture_row, index_row, status], api_visibility="private").then(**asked)
        for upload, load, state in (
            (folder, loaded_pictures, own_pictures),
            (several, loaded_pictures, own_pictures),
            (index, loaded_index, own_index),
        ):
            upload.upload(
                lambda files, earlier, load=load: uploaded(load, models, files, earlier),
                [upload, state],
                [state, status],
                concurrency_id="pictures",
                api_visibility="private",
            ).then(**asked)
        for choice, example in zip(chosen, examples):
            filled = [*example, *[""] * REWORDINGS][: len(texts)]
            choice.click(lambda filled=filled: filled, None, texts, api_visibility="private").then(**asked)
    return page


def serve(page: gr.Blocks, port: int) -> None:
    """Serve the page until it is stopped: to this machine alone, but in a Space. Nothing is shared or reported."""
    theme = gr.themes.Default(primary_hue="indigo", neutral_hue="slate").set(
        button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700"
    )
    page.launch(
        server_name="0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1",
        server_port=port,
        share=False,
        ssr_mode=False,
        footer_links=["settings"],
        max_file_size=MAX_BYTES,
        theme=theme,
        css_paths=STYLE,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Open the models, embed the drawn scenes, serve the page."""
    args = parse_args(argv)
    logging.getLogger("modeling_paraclip").setLevel(logging.ERROR)  # its warnings quote what users type
    try:
        base = Model.open("Base", args.base)
        models = [base, Model.open("ParaCLIP", args.model) if args.model else Model("Base again", base.towers)]
        rows, notice = search.drawn_rows(), "" if args.model else NOTICE
        with tempfile.TemporaryDirectory() as uploads, ThreadPoolExecutor(1) as aside:
            os.environ["GRADIO_TEMP_DIR"] = uploads  # before `build`: else what is uploaded is there twice
            drawn = aside.submit(search.drawn_scenes, rows, models)  # the page is up meanwhile
            serve(build(models, drawn.result, examples_in(rows), what_changed(args.model), notice), args.port)
    except (InputError, OSError) as error:
        sys.exit(f"app.py: {error}")


if __name__ == "__main__":
    main()
