"""A report, or the difference of two, as one page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from collectors.analysis.figures import Change, Difference, Figure, Report, Section, Source, Table
from collectors.model import PHASES
from exporters.report_style import CSS
from exporters.report_svg import colour, plot_html
from exporters.report_text import change_cells, style_of
from exporters.report_values import Style, percent, seconds

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def report_html(report: Report) -> str:
    style = style_of(report.source, report.settings)
    body = [
        _header("Report", [("", report.source)], style),
        _wall(report),
        _summary(report.summary),
        _contents([(section.key, section.title) for section in report.sections]),
        *(_section(section, style) for section in report.sections),
        _settings(report.settings),
    ]
    return _page(f"Report on {report.source.host or report.source.path}", body)


def difference_html(difference: Difference) -> str:
    style = style_of(difference.a, difference.settings)
    body = [
        _header("Difference", [("A", difference.a), ("B", difference.b)], style),
        _summary(difference.summary),
        *(_changes(title, changes, style) for title, changes in difference.groups),
        *(_changes(f"Fingerprint: {title}", changes, style) for title, changes in difference.fingerprint),
        "".join(f'<p class="small">{escape(note)}</p>' for note in difference.notes),
        _settings(difference.settings),
    ]
    return _page("Difference of two recordings", body)


def _page(title: str, body: Sequence[str]) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def _header(what: str, sources: Sequence[tuple[str, Source]], style: Style) -> str:
    parts = [f'<header><p class="brand">phasetop · {escape(what.lower())}</p>']
    for name, source in sources:
        day = Style(style.currency, style.zone, True)
        title = source.host or source.path
        parts.append(
            f"<h1>{f'<b>{name}</b> ' if name else ''}{escape(title)}</h1>"
            f'<p class="when">{escape(day.time(source.start))} to {escape(day.time(source.end))}'
            f" ({escape(source.time_zone)}), {seconds(source.seconds)} in {source.intervals:,} intervals"
            f'<br><span class="small">{escape(source.path)}</span></p><ul class="machines">'
            + "".join(f"<li>{escape(machine)}</li>" for machine in source.machines)
            + "</ul>"
            + "".join(f'<p class="small">{escape(note)}</p>' for note in source.notes)
        )
    return "".join(parts) + "</header>"


def _wall(report: Report) -> str:
    """The machine's time as one bar."""
    parts = []
    for phase in PHASES:
        value = report.figure(f"wall_{phase}").value or 0.0
        if value > 0:
            parts.append((phase, value))
    whole = sum(value for _, value in parts)
    if whole <= 0:
        return ""
    bars = "".join(
        f'<div style="flex:{value / whole:.4f};background:{colour(phase, 0)}" title="{phase} {percent(value / whole)}">'
        "</div>"
        for phase, value in parts
    )
    words = "".join(
        f'<span class="key"><i style="background:{colour(phase, 0)}"></i>{phase} <b>{percent(value / whole)}</b></span>'
        for phase, value in parts
    )
    return f'<div class="wall">{bars}</div><p class="keys">{words}</p>'


def _summary(lines: Sequence[str]) -> str:
    return '<ul class="summary">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _contents(sections: Sequence[tuple[str, str]]) -> str:
    links = "".join(f'<a href="#{escape(key, quote=True)}">{escape(title)}</a>' for key, title in sections)
    return f"<nav>{links}</nav>"


def _section(section: Section, style: Style) -> str:
    parts = [f'<section id="{escape(section.key, quote=True)}"><h2>{escape(section.title)}</h2>']
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    parts += [f'<p class="advice">{escape(line)}</p>' for line in section.advice]
    parts += [plot_html(plot, style) for plot in section.plots]
    parts.append(_figures(section.figures, style))
    parts += [_table(table, style) for table in section.tables]
    return "".join(parts) + "</section>"


def _figures(figures: Sequence[Figure], style: Style) -> str:
    known = [figure for figure in figures if figure.value is not None]
    rows = "".join(_figure(figure, style) for figure in known)
    missing = "".join(
        f"<li>{escape(figure.title)}: {escape(figure.missing or 'not measured')}</li>"
        for figure in figures
        if figure.value is None
    )
    parts = f'<div class="figures">{rows}</div>' if rows else ""
    return parts + (f'<ul class="missing" title="not computed">{missing}</ul>' if missing else "")


def _figure(figure: Figure, style: Style) -> str:
    bounds = style.bounds(figure)
    told = "; ".join(part for part in (figure.evidence, figure.note) if part)
    confidence = (
        f'<span class="c {figure.confidence}" title="confidence">{figure.confidence}</span>'
        if figure.confidence
        else ""
    )
    return (
        f'<div class="f"><span class="t">{escape(figure.title)}</span>'
        f'<span class="v">{escape(style.value(figure.value, figure.unit))}</span>'
        f'<span class="b">{escape(bounds)}</span>{confidence}<span class="e">{escape(told)}</span></div>'
    )


def _table(table: Table, style: Style) -> str:
    heads = "".join(
        f"<th{_right(column.unit)}>{escape(column.title)}</th>" for column in table.columns
    )  # fmt: skip
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{_right(column.unit)}>{escape(style.value(cell, column.unit))}</td>"
            for cell, column in zip(row, table.columns, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="small">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<h3>{escape(table.title)}</h3><div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def _right(unit: str) -> str:
    return "" if unit in ("text", "time") else ' class="n"'


def _changes(title: str, changes: Sequence[Change], style: Style) -> str:
    rows = "".join(_change_rows(changes, style))
    if not rows:
        return ""
    return (
        f'<section><h2>{escape(title[:1].upper() + title[1:])}</h2><div class="scroll"><table class="diff"><thead><tr>'
        '<th></th><th class="n">A</th><th class="n">B</th><th class="n">B − A</th><th></th><th>95 % of B − A</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _change_rows(changes: Sequence[Change], style: Style) -> Iterator[str]:
    for change in changes:
        if change.a is None and change.b is None:
            continue
        title, a, b, moved, relative, bounds = change_cells(change, style)
        kind = "real" if change.is_more_than_noise else "noise"
        if change.is_more_than_noise and change.better is not None:
            kind += " good" if relative.endswith("better") else " bad"
        cells = "".join(
            f'<td class="n" data-l="{name}">{escape(value)}</td>'
            for name, value in (("A", a), ("B", b), ("B − A", moved))
        )
        yield (
            f'<tr class="{kind}"><th>{escape(title)}</th>{cells}<td class="w">{escape(relative)}</td>'
            f'<td class="d">{escape(bounds)}</td></tr>'
        )


def _settings(settings: Sequence[tuple[str, str]]) -> str:
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in settings)
    return f"<footer><h3>Computed with</h3><dl>{told}</dl></footer>"
