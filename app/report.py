"""A report as one HTML file that holds its pictures: it can be mailed, and opens without a network."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from . import __version__

__all__ = ["Figure", "Section", "render_report"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1b22; --paper: #fff; --quiet: #66636f; --line: #e3e0ea; --code: #f5f2f9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9e6f0; --paper: #17151c; --quiet: #a29eae; --line: #34303d; --code: #231f2b; }
}
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1080px; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { max-width: 72ch; margin: .4rem 0 .8rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(225px, 1fr)); gap: 14px; }
figure { margin: 0; } figure.wide { grid-column: 1 / -1; }
img { width: 100%; display: block; border: 1px solid var(--line); border-radius: 4px; }
figcaption { color: var(--quiet); font-size: .85rem; margin-top: .25rem; overflow-wrap: anywhere; }
code, pre { font: .9em ui-monospace, monospace; background: var(--code); border-radius: 4px; padding: .1em .35em; }
pre { padding: .55rem .8rem; overflow-x: auto; margin: .2rem 0 .9rem; }
footer { margin-top: 3rem; color: var(--quiet); font-size: .85rem; border-top: 1px solid var(--line); }
"""


@dataclass(frozen=True)
class Figure:
    """A picture of a report.

    Attributes:
        image: uint8, shape (H, W, 3), RGB.
        caption: what it shows, plain text.
        wide: whether it takes the whole width.
    """

    image: np.ndarray
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A step of a report.

    Attributes:
        title: plain text.
        text: HTML of a paragraph.
        figures: pictures below it.
    """

    title: str
    text: str
    figures: Sequence[Figure] = field(default=())


def render_report(
    title: str, introduction: str, sections: Sequence[Section], next_steps: Sequence[tuple[str, str]]
) -> str:
    """Render a report.

    Args:
        title: plain text.
        introduction: plain text of the paragraph below it.
        sections: the steps, in order.
        next_steps: what to do next and the command for it, plain text.

    Returns:
        A whole HTML document; nothing in it refers to another file.
    """
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(introduction)}</p>"]
    for section in sections:
        parts += [f"<h2>{html.escape(section.title)}</h2>", f"<p>{section.text}</p>"]
        parts += ['<div class="figures">', *map(_figure, section.figures), "</div>"]
    parts.append("<h2>What to do next</h2>")
    for what, command in next_steps:
        parts += [f"<p>{html.escape(what)}:</p>", f"<pre>{html.escape(command)}</pre>"]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        f"<footer><p>nucleosynth {html.escape(__version__)}</p></footer>\n</body>\n</html>\n"
    )


def _figure(figure: Figure) -> str:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(figure.image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    caption, kind = html.escape(figure.caption), ' class="wide"' if figure.wide else ""
    source = base64.b64encode(encoded.tobytes()).decode()
    picture = f'<img src="data:image/jpeg;base64,{source}" alt="{caption}" loading="lazy">'
    return f"<figure{kind}>{picture}<figcaption>{caption}</figcaption></figure>"
