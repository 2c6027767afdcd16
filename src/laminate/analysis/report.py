"""report.html: one page about a run that opens without a network, beside the pictures it shows."""

import dataclasses
import html
from collections.abc import Callable, Iterable
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
    says out of how many and how they are seen, and the held-out ones that are looked at one by one. `facts` are the
    lines of the run's header, `step` is that of the weights, `save(folder, model, metrics)` writes what others load.
    """

    folder: epath.Path
    mesh: Mesh
    dtype: jnp.dtype
    training: Batches
    visualised: Batches
    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    command: str
    step: int
    statistics: str
    save: Callable[[epath.Path, Any, dict[str, float]], object]

    def page(
        self,
        *,
        headlines: tuple[tuple[str, str], ...],
        pictures: "tuple[Picture, ...]",
        files: tuple[tuple[str, str], ...],
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
            ),
        )


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image file in the run folder, with a heading and a sentence that says how to read it."""

    file: str
    title: str
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """What the page says; all text is plain and is escaped.

    `summary`: one sentence under the title. `headlines`: the few results worth large type, (value, what it
    is). `facts`: rows of the table, (label, value). `command`: what reproduces the run. `files`: (file in the
    run folder, what it holds).
    """

    title: str
    summary: str
    headlines: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    command: str
    pictures: tuple[Picture, ...]
    files: tuple[tuple[str, str], ...] = ()


def write_report(folder: FilePath, report: Report) -> epath.Path:
    """Write `folder`/report.html and return its path. Files are referenced by name, so the folder can move.

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
    write_bytes(path, page(report).encode())
    return path


def page(report: Report) -> str:
    """The HTML text of a report."""
    return PAGE.substitute(
        title=html.escape(report.title),
        summary=html.escape(report.summary),
        headlines="\n".join(_headline(value, label) for value, label in report.headlines),
        pictures="\n".join(_picture(picture) for picture in report.pictures),
        facts="\n".join(_row(html.escape(label), html.escape(value)) for label, value in report.facts),
        command=html.escape(report.command),
        files="\n".join(_row(_link(file), html.escape(text)) for file, text in report.files),
    )


def _headline(value: str, label: str) -> str:
    return f"<div><b>{html.escape(value)}</b><span>{html.escape(label)}</span></div>"


def _picture(picture: Picture) -> str:
    file, title, caption = (html.escape(text) for text in (picture.file, picture.title, picture.caption))
    return (
        f"<section><h2>{title}</h2>\n<p>{caption}</p>\n"
        f'<a href="{file}"><img src="{file}" alt="{title}"></a></section>'
    )


def _row(head: str, text: str) -> str:
    return f"<tr><th>{head}</th><td>{text}</td></tr>"


def _link(file: str) -> str:
    return f'<a href="{html.escape(file)}">{html.escape(file)}</a>'


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
h1 { margin: 0; font-size: 26px; line-height: 1.25; letter-spacing: -0.01em; }
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
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
pre { margin: 0; padding: 12px 14px; background: #f6f8fb; border-radius: 8px; white-space: pre-wrap;
  overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
</style>
</head>
<body>
<main>
<header><h1>$title</h1><p>$summary</p></header>
<div class="headlines">
$headlines
</div>
$pictures
<section><h2>The run</h2>
<table>
$facts
</table>
</section>
<section><h2>Again</h2><p>The same run from the same commit.</p>
<pre>$command</pre>
</section>
<section><h2>Files</h2>
<table>
$files
</table>
</section>
</main>
</body>
</html>
""")
