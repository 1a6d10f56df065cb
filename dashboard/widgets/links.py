"""Network interfaces and RDMA ports: what goes over each, and how much of it that is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collectors.readings import HostReading
from dashboard.format import MISSING, percent
from dashboard.scene import Scene
from dashboard.widgets.bars import bar
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

_NAME = 14
_RATE = 11
_FULL = 0.7
"""Use of a link from which it is marked."""


@dataclass(frozen=True, slots=True)
class Link:
    """One interface or port in one interval: bytes/s, None where missing."""

    name: str
    speed: float | None
    received: float | None
    sent: float | None

    @property
    def use(self) -> float | None:
        """Of its speed, in the busier direction."""
        known = [rate for rate in (self.received, self.sent) if rate is not None]
        return max(known) / self.speed if known and self.speed else None


def links_of(host: HostReading) -> Iterator[Link]:
    """Interfaces, then RDMA ports."""
    seconds = host.window_seconds
    for names, speeds, received, sent in (
        (
            host.network_interfaces, host.network_interface_speeds, host.network_interface_receive_bytes,
            host.network_interface_transmit_bytes,
        ),
        (host.rdma_ports, host.rdma_port_speeds, host.rdma_port_receive_bytes, host.rdma_port_transmit_bytes),
    ):  # fmt: skip
        for number, name in enumerate(names or ()):
            rates = [_per_second(part, number, seconds) for part in (received, sent)]
            speed = speeds[number] if speeds is not None and number < len(speeds) else None
            yield Link(name, speed, rates[0], rates[1])


def _per_second(amounts: tuple[float | None, ...] | None, number: int, seconds: float | None) -> float | None:
    amount = amounts[number] if amounts is not None and number < len(amounts) else None
    return amount / seconds if amount is not None and seconds else None


def link_count(host: HostReading | None) -> int:
    return 0 if host is None else len(host.network_interfaces or ()) + len(host.rdma_ports or ())


class LinksPanel(Panel):
    """One row a link; what does not fit is counted."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("Network and RDMA", palette.dim)
        host = None if scene.tick is None else scene.tick.interval.host
        if host is None:
            return Drawing(title)
        links = list(links_of(host))
        if not links:
            return Drawing(title, lines=_sums(scene, host, width))
        length = max(0, min(20, width - _NAME - 2 * _RATE - 18))
        heading = Line().add(f"{'link':<{_NAME}}", palette.dim)
        heading.add(f"{'in':>{_RATE - 4}}{'out':>{_RATE}}", palette.dim).to(_NAME + 2 * _RATE, palette.base)
        heading.add("of its speed", palette.dim)
        shown = links if len(links) < height else links[: max(1, height - 2)]
        lines = [heading, *(_line(scene, link, length) for link in shown)]
        if len(shown) < len(links):
            lines.append(Line().add(f"and {len(links) - len(shown)} more", palette.dim))
        return Drawing(
            title, Line().add("1 link" if len(links) == 1 else f"{len(links)} links", palette.dim), lines[:height]
        )


def _sums(scene: Scene, host: HostReading, width: int) -> list[Line]:
    """Where no single link is known: what is known of them together."""
    palette, seconds = scene.palette, host.window_seconds
    sums = (host.network_receive_bytes, host.network_transmit_bytes)
    if sums == (None, None):
        told = "no physical interface is seen here (inside a container they are virtual)"
        return [Line().foreign(told, palette.dim, width, palette.glyphs.ellipsis)]
    line = Line().add(f"{'all links':<{_NAME}}", palette.text)
    for word, amount in zip(("in", "out"), sums, strict=True):
        rate = amount / seconds if amount is not None and seconds else None
        line.add(f" {word} ", palette.dim).extend(_rate(scene, f"links/all/{word}", rate))
    return [line]


def _rate(scene: Scene, name: str, rate: float | None) -> Line:
    number, prefix = scene.units.parted(name, rate)
    if rate is None:
        return Line().add(f"{MISSING:>{_RATE - 4}}    ", scene.palette.dim)
    return Line().add(f"{number:>{_RATE - 5}}", scene.palette.bright).add(f" {prefix + 'B/s':<4}", scene.palette.dim)


def _line(scene: Scene, link: Link, length: int) -> Line:
    palette = scene.palette
    line = Line().foreign(link.name, palette.text, _NAME - 1, palette.glyphs.ellipsis).to(_NAME, palette.base)
    line.extend(_rate(scene, f"links/{link.name}/in", link.received))
    line.extend(_rate(scene, f"links/{link.name}/out", link.sent)).add("  ", palette.base)
    use = link.use
    full = use is not None and use >= _FULL
    line.extend(bar(use, length, palette, palette.warning if full else None))
    line.add(percent(use, 4), palette.warning if full else palette.bright if use is not None else palette.dim)
    line.add(" %" if use is not None else "  ", palette.dim)
    if link.speed:
        line.add(f" of {link.speed * 8 / 1e9:.0f}G", palette.dim)
    return line.add(f" {palette.glyphs.warning}", palette.warning) if full else line
