"""A picture of some examples with their class names, to see at a glance what the data are."""

from PIL import Image, ImageDraw, ImageFont

from laminate.data.decode import decode_image
from laminate.data.records import Records

_CELL, _CAPTION, _MARGIN = 112, 18, 6
_PAPER, _INK, _FAULT = (255, 255, 255), (20, 20, 20), (200, 40, 40)


def _cell(records: Records, index: int) -> tuple[int, Image.Image, str]:
    """(label, picture, caption) of one example; a damaged one is a red square that says so."""
    classes = records.manifest.classes
    try:
        example = records[index]
        picture = Image.fromarray(decode_image(example.image, max_pixels=records.manifest.max_pixels))
    except ValueError:
        return len(classes), Image.new("RGB", (_CELL, _CELL), _FAULT), f"record {index}: unreadable"
    scale = _CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Enlarged pixels stay visible as pixels; anything larger is averaged.
    resample = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    named = 0 <= example.label < len(classes)
    caption = classes[example.label] if named else example.key.rsplit("/", 1)[-1]
    return example.label, picture.resize(size, resample), caption


def contact_sheet(records: Records, count: int = 100, columns: int = 10) -> Image.Image:
    """`count` examples, evenly spaced through `records` and sorted by class, over a line of text about the
    set.
    """
    manifest, total = records.manifest, len(records)
    count = min(count, total)
    cells = [_cell(records, position * total // count) for position in range(count)]
    cells.sort(key=lambda cell: cell[0])
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    width, height = _CELL + _MARGIN, _CELL + _CAPTION + _MARGIN
    sheet = Image.new("RGB", (columns * width + _MARGIN, rows * height + _MARGIN + 2 * _CAPTION), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for place, (_, picture, caption) in enumerate(cells):
        left, top = _MARGIN + place % columns * width, _MARGIN + place // columns * height
        sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
        while caption and pen.textlength(caption, font) > _CELL:
            caption = caption[:-1]
        pen.text((left, top + _CELL + 1), caption, _INK, font)
    about = (
        f"{manifest.name} {manifest.split}: {total} images, {len(manifest.classes)} classes, {count} shown"
    )
    pen.text((_MARGIN, rows * height + _MARGIN), about, _INK, font)
    return sheet
