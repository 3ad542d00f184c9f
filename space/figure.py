"""The pieces of the page as HTML and SVG. All text that is not ours goes through `inert`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from search import DEPTH, Found, Gallery, links

from modeling_paraclip.errors import one_line

TOP = 7  # pictures shown of each ranking
WIDTH, SIDE, STEP, MARGIN = 560, 74, 84, 6  # units of the drawing
HEADLINES = ("average_overlap", "jaccard_similarity")
LETTER, LINE, LINES = 10.5, 21, 3  # units of an id where there is no picture, and its lines


def inert(text: object) -> str:
    r"""Text that a browser shows and never obeys: control characters as escapes (`\x1b`), HTML and quotes escaped."""
    return html.escape(one_line(text))


def problem(text: object) -> str:
    """What went wrong, in one sentence."""
    return f'<p class="problem" role="alert"><bdi>{inert(text)}</bdi></p>'


def note(text: object) -> str:
    """What is there now."""
    return f'<p class="note" role="status"><bdi>{inert(text)}</bdi></p>'


def points(fraction: float | None) -> str:
    """100 times a fraction, as in the tables of the project."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"  # noqa: RUF001


def signed(fraction: float) -> str:
    """A difference in points, with a real minus sign."""
    return f"{100 * fraction:+.1f}".replace("-", "−")  # noqa: RUF001


# ----------------------------------------------------------------------------------------------------------- rankings
def answer(gallery: Gallery, wordings: Sequence[str], found: Sequence[Found]) -> str:
    """The numbers of all models, and below them a panel for each."""
    panels = "".join(panel(gallery, wordings, one) for one in found)
    return f'<div class="answer">{summary(gallery, wordings, found)}<div class="panels">{panels}</div></div>'


def summary(gallery: Gallery, wordings: Sequence[str], found: Sequence[Found]) -> str:
    """One line with the average overlaps, or why there is none. A screen reader is told of it."""
    where = f"Searched in {inert(gallery.title)}."
    if len(wordings) == 1:
        return f'<p class="summary" role="status">Add a rewording to see how much of the ranking it keeps. {where}</p>'
    if found[0].overlap is None:
        few = f"AO@{DEPTH} needs more than {DEPTH} pictures: with fewer, every wording finds all of them."
        return f'<p class="summary" role="status">{few} {where}</p>'
    figures = " <i>→</i> ".join(f"<span>{inert(one.label)} <b>{points(one.overlap)}</b></span>" for one in found)
    difference = signed((found[-1].overlap or 0) - found[0].overlap)
    return (
        f'<p class="summary" role="status"><span class="measure">AO@{DEPTH}</span> {figures} '
        f'<span class="difference">{difference}</span><small>AO@{DEPTH}: how far the first {DEPTH} pictures of a '
        f"rewording are those of the wish; 100 if all are, in the same order. {where} A line joins the same picture "
        f"under two wordings; faded pictures are not among the first {TOP} of the wish.</small></p>"
    )


def panel(gallery: Gallery, wordings: Sequence[str], found: Found) -> str:
    """One model: its average overlap, the wordings as columns of pictures with lines between them, and a table."""
    label = inert(found.label)
    return (
        f'<section class="panel" aria-label="{label}"><h2>{label} '
        f'<span class="score">AO@{DEPTH} <b data-model="{label}">{points(found.overlap)}</b></span></h2>'
        f"{heads(wordings, found)}{drawing(gallery, found)}{ranking_table(gallery, found)}</section>"
    )


def heads(wordings: Sequence[str], found: Found) -> str:
    """What stands above each column."""
    cells = []
    for i, wording in enumerate(wordings):
        name = "Wish" if i == 0 else f"Rewording {i}"
        score = f" <b>{points(found.overlaps[i - 1])}</b>" if i and len(found.overlaps) > 1 else ""
        cells.append(f'<div><small>{name}{score}</small><bdi title="{inert(wording)}">{inert(wording)}</bdi></div>')
    return f'<div class="heads" style="--columns:{len(wordings)}">{"".join(cells)}</div>'


def drawing(gallery: Gallery, found: Found) -> str:
    """Columns of pictures; a line joins the same picture in two neighbouring columns.

    Lines between the same places are straight; the nearer to the top, the stronger. Faded: what the wish did not find.
    """
    columns = [[int(picture) for picture in row[:TOP]] for row in found.ranked]
    centres = [WIDTH * (2 * c + 1) / (2 * len(columns)) for c in range(len(columns))]
    across = SIDE if gallery.thumbnails else min(150.0, WIDTH / len(columns) - 44)
    lines, pictures = [], []
    for c in range(1, len(columns)):
        for i, j in links(columns[c - 1], columns[c]):
            lines.append(
                _line(centres[c - 1] + across / 2, _middle(i), centres[c] - across / 2, _middle(j), max(i, j))
            )
    for centre, column in zip(centres, columns):
        for place, picture in enumerate(column):
            faded = "" if picture in columns[0] else ' class="faded"'
            tile = _tile(gallery, picture, centre - across / 2, _middle(place) - SIDE / 2, across)
            pictures.append(f"<g{faded}><title>{place + 1}. {inert(gallery.ids[picture])}</title>{tile}</g>")
    height = 2 * MARGIN + STEP * (len(columns[0]) - 1) + SIDE
    kept = [len(links(columns[0], column)) for column in columns[1:]]
    told = ", ".join(f"{n} in rewording {i}" for i, n in enumerate(kept, start=1))
    spoken = f"First {len(columns[0])} pictures of each wording." + (
        f" Of the wish's pictures: {told}." if told else ""
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{inert(found.label)}. {inert(spoken)}">'
        f"{''.join(lines)}{''.join(pictures)}</svg>"
    )


def _middle(place: int) -> float:
    return MARGIN + place * STEP + SIDE / 2


def _line(x1: float, y1: float, x2: float, y2: float, depth: int) -> str:
    bend = (x2 - x1) / 2
    kind = "same" if y1 == y2 else "moved"
    return (
        f'<path class="{kind}" stroke-width="{6 - 0.6 * depth:.1f}" '
        f'd="M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"/>'
    )


def _tile(gallery: Gallery, picture: int, x: float, y: float, across: float) -> str:
    """A picture at (x, y), or the end of its id where there is none: names of files differ there."""
    box = f'x="{x:.1f}" y="{y:.1f}" width="{across:.1f}" height="{SIDE}"'
    if gallery.thumbnails is not None:
        return f'<image {box} href="{gallery.thumbnails[picture]}" preserveAspectRatio="xMidYMid slice"/>'
    name, letters = one_line(gallery.ids[picture]), int(across / LETTER)
    if len(name) > letters * LINES:
        name = "…" + name[1 - letters * LINES :]
    lines = [name[start : start + letters] for start in range(0, len(name), letters)]
    first = y + SIDE / 2 - LINE * (len(lines) - 1) / 2
    spans = "".join(
        f'<tspan x="{x + across / 2:.1f}" y="{first + LINE * n:.1f}">{html.escape(line)}</tspan>'
        for n, line in enumerate(lines)
    )
    return f'<rect {box} rx="6"/><text>{spans}</text>'


def ranking_table(gallery: Gallery, found: Found) -> str:
    """The same rankings as text."""
    names = ["wish", *(f"rewording {i}" for i in range(1, len(found.ranked)))]
    rows = [
        [str(place + 1), *(gallery.ids[picture] for picture in found.ranked[:, place])]
        for place in range(found.ranked.shape[1])
    ]
    return f"<details><summary>The rankings as text</summary>{_table(['#', *names], rows)}</details>"


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col">{inert(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td><bdi>{inert(cell)}</bdi></td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


# ------------------------------------------------------------------------------------------------------- what changed
def changed(rows: Sequence[tuple[str, str, float, float]]) -> str:
    """From base (ring) to tuned (dot): the metrics that matter, and all of them below."""
    first = [row for row in rows if row[1].startswith(HEADLINES) or row[1].endswith("recall@1")]
    return (
        "<p>Measured by the training on queries that it did not see. In points; more is better. The model card has "
        f"the intervals of the differences.</p>{_changes(first or rows)}"
        f"<details><summary>All {len(rows)} figures</summary>{_changes(rows)}</details>"
    )


def _changes(rows: Sequence[tuple[str, str, float, float]]) -> str:
    names = ("queries", "metric", "ring: base, dot: ParaCLIP", "base", "ParaCLIP", "difference")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = []
    for dataset, metric, base, tuned in rows:
        kind = "up" if tuned > base else "down" if tuned < base else ""
        text = "".join(f"<td><bdi>{inert(cell)}</bdi></td>" for cell in (dataset, metric.replace("_", " ")))
        figures = f"<td>{points(base)}</td><td>{points(tuned)}</td><td><b>{signed(tuned - base)}</b></td>"
        body.append(f'<tr class="{kind}">{text}<td>{_change(base, tuned)}</td>{figures}</tr>')
    return (
        f'<div class="scroll" tabindex="0"><table class="changed"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _change(base: float, tuned: float) -> str:
    x1, x2 = (6 + 108 * min(max(value, 0.0), 1.0) for value in (base, tuned))
    return (
        '<svg viewBox="0 0 120 14" class="change" aria-hidden="true"><line x1="6" x2="114" y1="7" y2="7"/>'
        f'<line class="way" x1="{x1:.1f}" x2="{x2:.1f}" y1="7" y2="7"/>'
        f'<circle class="from" cx="{x1:.1f}" cy="7" r="4"/>'
        f'<circle class="to" cx="{x2:.1f}" cy="7" r="4.5"/></svg>'
    )
