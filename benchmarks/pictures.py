"""Pictures of every screen, from the recordings that ship with the package.

    python -m benchmarks.pictures [DIRECTORY] [--screen NAME]... [--size 120x40]... [--png]

Draws each screen as it stands at a moment of the demo (`phasetop demo`), whose header says that it is simulated;
docs/pictures is made with it. PNG files instead of SVG need rsvg-convert (librsvg2-bin).
"""

from __future__ import annotations

import argparse
import asyncio
import html
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.cells import cell_len
from rich.style import Style

from collectors.replay import Recording
from dashboard.app import PhasetopApp
from dashboard.commands.demo import unpacked
from dashboard.config import Config
from dashboard.objectives import slo_book
from dashboard.replay_feed import ReplayFeed
from dashboard.screens.table import SCREENS
from dashboard.themes import THEMES
from dashboard.timespec import parse_time
from dashboard.ways import Ways
from dashboard.widgets.panel import Panel

SIZES = ((80, 24), (120, 40), (200, 50))
DEMO, MOMENT = "node", "07:06:10"
FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"
FONT_SIZE = 15
CELL = (9.03, 17)
BASELINE = 13
MARGIN = 8
BLOCKS = "▁▂▃▄▅▆▇█"
BRAILLE = "\u2800-\u28ff"
_PATIENCE_SECONDS = 20.0


async def draw(recording: Recording, moment: str, size: tuple[int, int], screen: str, theme: str) -> str:
    """An SVG of one screen of a recording. Raises TimeoutError when the recording is not shown in time."""
    at = parse_time(moment, start=recording.start, end=recording.end, zone=recording.zone)
    feed = ReplayFeed(recording, at=at, origin=recording.description)
    app = PhasetopApp(
        feed,
        title_host=feed.host_name,
        zone=feed.zone,
        interval=feed.interval,
        colors="truecolor",
        slo=slo_book(Config().slo),
        ways=Ways(theme=theme),
    )
    async with app.run_test(size=size) as pilot:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while app.desk.tick() is None or app.desk.replay is None or not app.desk.replay.playback().strip:
                await pilot.pause(0.05)
        await pilot.press(next(one.key for one in SCREENS if one.name == screen))
        await pilot.pause(0.5)
        return svg(app, THEMES[theme].colors["background"])


def svg(app: PhasetopApp, ground: str) -> str:
    """What the panels show, cell by cell: blocks as rectangles, so that no font leaves seams between them."""
    width, height = app.size
    across, down = width * CELL[0] + 2 * MARGIN, height * CELL[1] + 2 * MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{across:.0f}" height="{down:.0f}">',
        f'<rect width="100%" height="100%" rx="6" fill="{ground}"/>',
        f'<g font-family="{FONT}" font-size="{FONT_SIZE}" xml:space="preserve">',
    ]
    for panel in app.screen.query(Panel):
        region = panel.region
        for y in range(region.height):
            x = region.x
            for text, style, _ in panel.render_line(y):
                out += cells(text, style or Style(), x, region.y + y, ground)
                x += cell_len(text)
    return "\n".join([*out, "</g></svg>"])


def cells(text: str, style: Style, x: int, y: int, ground: str) -> Iterator[str]:
    """The shapes of one run of a style."""
    ink, paper = (color.triplet.hex if color is not None and color.triplet else None for color in
                  (style.color, style.bgcolor))  # fmt: skip
    ink, paper = ink or "#c9d1d9", paper or ground
    if style.reverse:
        ink, paper = paper, ink
    if paper != ground:
        yield rectangle(x, y, cell_len(text), 8, paper)
    for part in re.findall(f"[{BLOCKS}]+|[{BRAILLE}]+|[^{BLOCKS}{BRAILLE}]+", text):
        if "\u2800" <= part[0] <= "\u28ff":
            for n, pattern in enumerate(part):
                yield from dots(x + n, y, ord(pattern) - 0x2800, ink)
        elif part[0] in BLOCKS:
            for n, block in enumerate(part):
                yield rectangle(x + n, y, 1, BLOCKS.index(block) + 1, ink)
        elif part.strip():
            at = x + len(part) - len(part.lstrip())
            weight = ' font-weight="bold"' if style.bold else ""
            # Runs of plain spaces are one space to some viewers, which then stretch the text to its length.
            words = html.escape(part.strip()).replace("  ", "\u00a0\u00a0")
            yield (
                f'<text x="{MARGIN + at * CELL[0]:.2f}" y="{MARGIN + y * CELL[1] + BASELINE:.2f}" fill="{ink}"{weight} '
                f'textLength="{cell_len(part.strip()) * CELL[0]:.2f}">{words}</text>'
            )
        x += cell_len(part)


def dots(x: int, y: int, pattern: int, color: str) -> Iterator[str]:
    """A braille pattern; its bits run down the left column, then the right one, the lowest row last."""
    for bit, (column, row) in enumerate(((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))):
        if pattern >> bit & 1:
            across = MARGIN + (x + (column + 0.5) / 2) * CELL[0]
            down = MARGIN + (y + (row + 0.5) / 4) * CELL[1]
            yield f'<circle cx="{across:.2f}" cy="{down:.2f}" r="1.3" fill="{color}"/>'


def rectangle(x: int, y: int, width: int, eighths: int, color: str) -> str:
    """The lowest eighths of some cells in a row."""
    left, right = round(MARGIN + x * CELL[0], 2), round(MARGIN + (x + width) * CELL[0], 2)
    bottom, tall = MARGIN + (y + 1) * CELL[1], CELL[1] * eighths / 8
    return (
        f'<rect x="{left}" y="{bottom - tall:.2f}" width="{right - left:.2f}" height="{tall:.2f}" fill="{color}" '
        'shape-rendering="crispEdges"/>'
    )


def png(drawn: str, path: Path) -> None:
    """The SVG as a PNG. Raises CalledProcessError."""
    subprocess.run(["rsvg-convert", "-o", str(path), "/dev/stdin"], input=drawn.encode(), check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--screen", action="append", choices=[one.name for one in SCREENS])
    parser.add_argument("--size", action="append", metavar="120x40")
    parser.add_argument("--theme", default="dark", choices=list(THEMES))
    parser.add_argument("--png", action="store_true")
    options = parser.parse_args()
    if options.png and shutil.which("rsvg-convert") is None:
        print("rsvg-convert is missing: apt install librsvg2-bin", file=sys.stderr)
        return 1
    sizes = [tuple(map(int, size.split("x"))) for size in options.size] if options.size else SIZES
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        path = unpacked(DEMO, Path(scratch))
        for screen in options.screen or [one.name for one in SCREENS]:
            for width, height in sizes:
                with Recording(path) as recording:
                    drawn = asyncio.run(draw(recording, MOMENT, (width, height), screen, options.theme))
                made = options.directory / f"{screen}-{width}x{height}.{'png' if options.png else 'svg'}"
                if options.png:
                    png(drawn, made)
                else:
                    made.write_text(drawn, encoding="utf-8")
                print(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
