"""report.html: one page about a run, pictures inside: a file that opens without a network and can be sent as it is."""

import base64
import dataclasses
import html
import io
from collections.abc import Callable, Iterable, Mapping
from string import Template
from typing import Any

import jax.numpy as jnp
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Array

from laminate.analysis.figures import FilePath
from laminate.storage.writing import write_bytes

REPORT_FILE = "report.html"

Batches = Callable[[], Iterable[dict[str, Array]]]


@dataclasses.dataclass(frozen=True)
class RunReport:
    """What a training says when it ends, to whatever draws its report.

    `training` and `visualised` are batches on the mesh, always the same: images for statistics, of which `statistics`
    says out of how many and how they are seen, and the held-out ones that are looked at one by one. `known(count)` are
    so many training images in the view of the held-out ones. `facts` are the lines of the run's header and where it
    comes from, `step` is that of the weights, `save(folder, model, metrics)` writes what others load, `following` are
    the commands that go on with it, each after what it is for.
    """

    folder: epath.Path
    mesh: Mesh
    dtype: jnp.dtype
    training: Batches
    visualised: Batches
    known: Callable[[int], Iterable[dict[str, Array]]]
    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    command: str
    step: int
    statistics: str
    save: Callable[[epath.Path, Any, dict[str, float]], object]
    following: tuple[tuple[str, str], ...] = ()

    def page(
        self,
        *,
        headlines: tuple[tuple[str, str], ...],
        pictures: "tuple[Picture, ...]",
        files: tuple[tuple[str, str], ...],
        tables: "tuple[Table, ...]" = (),
    ) -> epath.Path:
        """Write report.html with these pictures, which are in the folder already; its path."""
        return write_report(
            self.folder,
            Report(
                title=self.title,
                summary=self.summary,
                headlines=headlines,
                facts=self.facts,
                command=self.command,
                pictures=pictures,
                files=files,
                tables=tables,
                following=self.following,
            ),
        )


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image file in the run folder, with a heading and a sentence that says how to read it."""

    file: str
    title: str
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """Figures side by side: a heading, a sentence, the heads of the columns after the first, and the rows."""

    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """What the page says; all text is plain and is escaped.

    `summary`: one sentence under the title. `headlines`: the few results worth large type, (value, what it
    is). `facts`: rows of the table, (label, value). `command`: what reproduces the run. `files`: (file in the
    run folder, what it holds). `following`: commands that go on, (what for, command).
    """

    title: str
    summary: str
    headlines: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    command: str
    pictures: tuple[Picture, ...]
    files: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    following: tuple[tuple[str, str], ...] = ()


def write_report(folder: FilePath, report: Report) -> epath.Path:
    """Write `folder`/report.html and return its path. Pictures are inside, so the file can be sent alone.

    Raises:
        FileNotFoundError: a picture or file that the page would show is not in the folder.
    """
    folder = epath.Path(folder)
    named = [picture.file for picture in report.pictures] + [file for file, _ in report.files]
    missing = [file for file in named if not (folder / file).exists()]
    if missing:
        raise FileNotFoundError(
            f"the report refers to {', '.join(missing)}, which {folder} does not hold; "
            "write the pictures before the report."
        )
    path = folder / REPORT_FILE
    shown = {picture.file: embedded((folder / picture.file).read_bytes()) for picture in report.pictures}
    write_bytes(path, page(report, shown).encode())
    return path


def embedded(png: bytes) -> str:
    """A picture as a data URI: WebP without loss where that is smaller, as it is for nearly all of ours."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.save(buffer, "WEBP", lossless=True, quality=60, method=4)
    kind, data = min((("webp", buffer.getvalue()), ("png", png)), key=lambda one: len(one[1]))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def page(report: Report, shown: Mapping[str, str]) -> str:
    """The HTML text of a report; `shown` says under which address each picture is found."""
    return PAGE.substitute(
        title=html.escape(report.title),
        summary=html.escape(report.summary),
        headlines="\n".join(_headline(value, label) for value, label in report.headlines),
        pictures="\n".join(_picture(picture, shown[picture.file]) for picture in report.pictures),
        tables="\n".join(_table(table) for table in report.tables),
        facts="\n".join(_row(html.escape(label), html.escape(value)) for label, value in report.facts),
        command=html.escape(report.command),
        following="".join(_following(purpose, command) for purpose, command in report.following),
        files="\n".join(_row(html.escape(file), html.escape(text)) for file, text in report.files),
    )


def _headline(value: str, label: str) -> str:
    return f"<div><b>{html.escape(value)}</b><span>{html.escape(label)}</span></div>"


def _picture(picture: Picture, address: str) -> str:
    title, caption = html.escape(picture.title), html.escape(picture.caption)
    return (
        f"<section><h2>{title}</h2>\n<p>{caption}</p>\n"
        f'<div class="picture"><img src="{address}" alt="{title}"></div></section>'
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in ("", *table.head))
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in table.rows
    )
    return (
        f"<section><h2>{html.escape(table.title)}</h2>\n<p>{html.escape(table.caption)}</p>\n"
        f'<table class="figures"><tr>{head}</tr>\n{rows}</table></section>'
    )


def _following(purpose: str, command: str) -> str:
    return (
        f"<section><h2>Next</h2><p>{html.escape(purpose)}</p>\n<pre>{html.escape(command)}</pre></section>\n"
    )


def _row(head: str, text: str) -> str:
    return f"<tr><th>{head}</th><td>{text}</td></tr>"


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; --ink: #1c2733; --muted: #67727e; --line: #e6e9ed; --accent: #1f6feb; }
* { box-sizing: border-box; }
body { margin: 0; background: #f6f8fb; color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { margin: 0; font-size: 26px; line-height: 1.25; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { margin: 0 0 2px; font-size: 16px; }
p { margin: 0 0 12px; color: var(--muted); }
header p { margin-top: 6px; font-size: 16px; max-width: 75ch; }
.headlines { display: flex; flex-wrap: wrap; gap: 12px; margin: 22px 0; }
.headlines div { flex: 1 1 150px; background: #fff; border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 18px; }
.headlines b { display: block; font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.headlines span { color: var(--muted); font-size: 13px; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px;
  margin: 0 0 18px; }
img { display: block; max-width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 6px 0; border-top: 1px solid var(--line);
  font-weight: normal; overflow-wrap: anywhere; }
tr:first-child th, tr:first-child td { border-top: 0; }
th { width: 220px; padding-right: 16px; color: var(--muted); }
td { font-variant-numeric: tabular-nums; }
.figures th { width: auto; padding-right: 0; } .figures td + td, .figures th + th { text-align: right;
  white-space: nowrap; padding-left: 16px; }
.figures td:first-child { overflow-wrap: break-word; }
.picture { overflow-x: auto; }
pre { margin: 0; padding: 12px 14px; background: #f6f8fb; border-radius: 8px; white-space: pre-wrap;
  overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media (max-width: 600px) {
  main { padding: 20px 12px 40px; }
  section { padding: 14px; }
  .headlines div { flex-basis: 120px; padding: 10px 12px; }
  .headlines b { font-size: 21px; }
  .picture img { max-width: none; }
  .figures td + td, .figures th + th { padding-left: 10px; }
  table:not(.figures) th, table:not(.figures) td { display: block; width: auto; }
  table:not(.figures) td { border-top: 0; padding-top: 0; }
}
@media print { body { background: #fff; } section { break-inside: avoid; } }
</style>
</head>
<body>
<main>
<header><h1>$title</h1><p>$summary</p></header>
<div class="headlines">
$headlines
</div>
$tables
$pictures
<section><h2>The run</h2>
<table>
$facts
</table>
</section>
<section><h2>Again</h2><p>The same run from the same commit.</p>
<pre>$command</pre>
</section>
$following<section><h2>Files</h2>
<table>
$files
</table>
</section>
</main>
</body>
</html>
""")
