"""Drawing a causal graph, or the counterfactual that an intervention makes of it, with Pillow."""

from __future__ import annotations

import math
from bisect import bisect, bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

from PIL import Image, ImageDraw

from .counterfactual import Change, Counterfactual, propagate
from .graph import CausalGraph, Edge
from .layout import Layout, Point, lay_out
from .lettering import fitted, font_for, width_of
from .palette import RGB, concept_rgb, hex_to_rgb

PAPER, CARD, RULE = hex_to_rgb("#faf6ee"), hex_to_rgb("#fffdf8"), hex_to_rgb("#d9d0c1")
INK, MUTED, LINE = hex_to_rgb("#3d362e"), hex_to_rgb("#857a6c"), hex_to_rgb("#a2988a")
CUT, GOOD, SLIPPED, WHITE = hex_to_rgb("#c2573c"), hex_to_rgb("#3f8f5b"), hex_to_rgb("#b3202a"), (255, 255, 255)

BOX_WIDTHS, BOX_HEIGHT, GAP, RADIUS = (170.0, 290.0), 68.0, (96.0, 34.0), 14.0
MARGIN, HEADER, LEGEND = 44.0, 40.0, 44.0
INDENT, PADDING, ARROW = 38.0, 18.0, 30.0
NAME_SIZE, VALUE_SIZE, SMALL_SIZE, TITLE_SIZE = 19, 15, 13, 20
TICK, CROSS = (((-5, 0), (-1.5, 4), (5, -4)),), (((-4, -4), (4, 4)), ((-4, 4), (4, -4)))
FADED = 0.45
DASH, GAP_BETWEEN = 7, 6
MAX_DASHES = 20_000  # in one picture; of more and longer edges the dashes are longer
SUPERSAMPLING, MAX_PIXELS, LONGEST_SIDE = 4.0, 32e6, 4096


def draw(shown: CausalGraph | Counterfactual, verdicts: Mapping[str, bool] | None = None) -> Image.Image:
    """Return an RGB picture of a graph or a counterfactual, causes to the left of their effects.

    With interventions pending, the intervened concepts carry a do() badge and the edges into them
    are drawn cut, their descendants stand out, and what is preserved fades back. Proposed edges are
    dashed. `verdicts` put a tick or a cross on the concepts that they name. The longer side has at most 4096 pixels.
    """
    settled = isinstance(shown, Counterfactual)
    counterfactual = shown if isinstance(shown, Counterfactual) else propagate(shown, {})
    return _Drawing(counterfactual, settled, verdicts or {}).picture()


class _Pen:
    """Draws in the units of the layout on a sheet several times as large as the finished picture."""

    def __init__(self, left: float, top: float, width: float, height: float) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height
        self.unit = max(1.0, max(width, height) / LONGEST_SIDE)  # of a pixel of the finished picture
        self.size = max(1, round(width / self.unit)), max(1, round(height / self.unit))
        self.scale = min(SUPERSAMPLING, math.sqrt(MAX_PIXELS / (self.size[0] * self.size[1]))) / self.unit
        self.image = Image.new("RGB", (math.ceil(width * self.scale), math.ceil(height * self.scale)), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def at(self, *points: Point) -> list[Point]:
        return [((x - self.left) * self.scale, (y - self.top) * self.scale) for x, y in points]

    def pixels(self, size: float) -> int:
        return max(1, round(size * self.scale))

    def words(self, point: Point, text: str, size: int, colour: RGB, anchor: str = "lm") -> None:
        """Write one line; `anchor` as Pillow has it, by default the middle of the left side."""
        self.pen.text(self.at(point)[0], text, fill=colour, font=font_for(text, self.pixels(size)), anchor=anchor)

    def stroke(self, points: Sequence[Point], colour: RGB, width: float) -> None:
        self.pen.line(self.at(*points), fill=colour, width=self.pixels(width), joint="curve")

    def head(self, start: Point, tip: Point, colour: RGB, size: float) -> None:
        """Draw an arrowhead at `tip`, as if the arrow came from `start`."""
        (x, y), (dx, dy) = tip, _direction(start, tip, size)
        wings = [(x - dx - 0.45 * dy, y - dy + 0.45 * dx), (x - dx + 0.45 * dy, y - dy - 0.45 * dx)]
        self.pen.polygon(self.at(tip, *wings), fill=colour)

    def card(self, centre: Point, size: Point, radius: float, fill: RGB, outline: RGB | None = None, width: float = 0) -> None:
        """Fill a box with rounded corners, with an outline if one is given."""
        (x, y), (across, down) = centre, (size[0] / 2, size[1] / 2)
        corners = self.at((x - across, y - down), (x + across, y + down))
        self.pen.rounded_rectangle(corners, self.pixels(radius), fill, outline, self.pixels(width) if outline else 0)

    def disc(self, centre: Point, diameter: float, fill: RGB) -> None:
        self.card(centre, (diameter, diameter), diameter / 2, fill)


class _Drawing:
    """One picture in the making. `settled` says whether the descendants' values are known, or still to be propagated."""

    def __init__(self, counterfactual: Counterfactual, settled: bool, verdicts: Mapping[str, bool]) -> None:
        self.verdicts, self.settled, self.graph = verdicts, settled, counterfactual.graph
        self.changes = {change.concept: change for change in counterfactual.changes}
        self.acts = bool(self.graph.interventions)
        self.box = (_box_width(counterfactual.changes), BOX_HEIGHT)
        self.layout = lay_out(self.graph, self.box, GAP)
        self.pen = _pen(self.layout, self.box, self.acts)

    def picture(self) -> Image.Image:
        paths = {edge: self.layout.paths[edge.cause, edge.effect] for edge in sorted(self.graph.edges, key=self._carries)}
        dashed = sum(_walked(path)[-1] for edge, path in paths.items() if edge.status == "proposed")
        self.dash_unit = max(self.pen.unit, dashed / ((DASH + GAP_BETWEEN) * MAX_DASHES))
        for edge, path in paths.items():
            self._edge(edge, path)
        for index, name in enumerate(self.graph.names):
            self._box(name, concept_rgb(index))
        if self.acts:
            self._title()
            self._legend()
        return self.pen.image.resize(self.pen.size, Image.Resampling.LANCZOS)

    def _tone(self, name: str, colour: RGB) -> RGB:
        """Return the colour, faded towards the paper for a concept that is preserved and has not slipped."""
        fades = self.acts and self.changes[name].role == "preserved" and self.verdicts.get(name) is not False
        return _mixed(colour, PAPER, FADED) if fades else colour

    def _box(self, name: str, colour: RGB) -> None:
        (x, y), change = self.layout.centres[name], self.changes[name]
        left, top = x - self.box[0] / 2, y - self.box[1] / 2
        fill, outline, width = self._tone(name, CARD), self._tone(name, RULE), 1.0
        if self.verdicts.get(name) is False:
            fill, outline, width = _mixed(CARD, SLIPPED, 0.08), SLIPPED, 2.5
        elif self.acts and change.role != "preserved":
            tint, width = (0.14, 2.5) if change.changed else (0.04, 1.75)
            fill, outline = _mixed(CARD, colour, tint), colour
        self.pen.card((x, y + 2.5), self.box, RADIUS, self._tone(name, _mixed(RULE, PAPER, 0.4)))
        self.pen.card((x, y), self.box, RADIUS, fill, outline, width)
        self.pen.disc((left + 22, y - 12), 14, self._tone(name, colour))
        text = fitted(name, NAME_SIZE, self.box[0] - INDENT - PADDING)
        self.pen.words((left + INDENT, y - 12), text, NAME_SIZE, self._tone(name, INK))
        self._value(change, (left + INDENT, y + 15))
        if name in self.graph.interventions:
            self._badge((left + self.box[0] - 32, top), _mixed(colour, INK, 0.4))
        if name in self.verdicts:
            self._verdict((left + 4, top + 4), self.verdicts[name])

    def _verdict(self, middle: Point, good: bool) -> None:
        """Draw a white tick on green, or a white cross on red."""
        self.pen.disc(middle, 24, GOOD if good else SLIPPED)
        for stroke in TICK if good else CROSS:
            self.pen.stroke([(middle[0] + dx, middle[1] + dy) for dx, dy in stroke], WHITE, 2.6)

    def _value(self, change: Change, start: Point) -> None:
        """Write the value, or `factual -> counterfactual` where the two differ or may differ."""
        after = change.counterfactual if change.changed else "?" if change.role == "descendant" and not self.settled else ""
        room = self.box[0] - INDENT - PADDING - (ARROW if after else 0)
        before = fitted(change.factual, VALUE_SIZE, max(room / 2, room - width_of(after, VALUE_SIZE)))
        self.pen.words(start, before, VALUE_SIZE, self._tone(change.concept, MUTED))
        if after:
            x, y = start[0] + width_of(before, VALUE_SIZE) + 6, start[1] + 1
            self.pen.stroke([(x, y), (x + 14, y)], INK, 1.5)
            self.pen.head((x, y), (x + 18, y), INK, 7)
            after = fitted(after, VALUE_SIZE, room - width_of(before, VALUE_SIZE))
            self.pen.words((x + ARROW - 6, start[1]), after, VALUE_SIZE, INK)

    def _badge(self, middle: Point, colour: RGB) -> None:
        self.pen.card(middle, (44, 22), 11, colour)
        self.pen.words(middle, "do( )", SMALL_SIZE, WHITE, "mm")

    def _carries(self, edge: Edge) -> bool:
        """Whether the effect of an intervention runs, or may run, along the edge."""
        if edge.status != "confirmed" or edge.effect in self.graph.interventions:
            return False
        cause, effect = self.changes[edge.cause], self.changes[edge.effect]
        if self.settled:
            return cause.changed and effect.changed
        return effect.role == "descendant" and (cause.changed or cause.role == "descendant")

    def _edge(self, edge: Edge, path: Sequence[Point]) -> None:
        """Draw an edge; one that surgery removes is pale, with a gap and a stroke on either side of it."""
        total = _walked(path)[-1]
        if edge.effect in self.graph.interventions:
            before, after = part(path, 0, total - 36), part(path, total - 24, total - 3)
            for piece, end in (before, before[-1]), (after, after[0]):
                self._line(edge, piece, _mixed(LINE, PAPER, 0.4), 1.8)
                dx, dy = _direction(before[-1], after[0], 1)
                across, down = 3 * dx + 7 * dy, 3 * dy - 7 * dx
                self.pen.stroke([(end[0] - across, end[1] - down), (end[0] + across, end[1] + down)], CUT, 2.2)
        else:
            colour, width = (INK, 2.6) if self._carries(edge) else (self._tone(edge.cause, LINE), 1.8)
            shaft = part(path, 0, total - 9)
            self._line(edge, shaft, colour, width)
            self.pen.head(shaft[-1], path[-1], colour, 11)

    def _line(self, edge: Edge, path: Sequence[Point], colour: RGB, width: float) -> None:
        unit = self.dash_unit
        for piece in dashes(path, DASH * unit, GAP_BETWEEN * unit) if edge.status == "proposed" else [path]:
            self.pen.stroke(piece, colour, width)

    def _title(self) -> None:
        text = ", ".join(f"do({name} = {value})" for name, value in self.graph.interventions.items())
        place = (self.pen.left + MARGIN, self.pen.top + MARGIN - 6)
        self.pen.words(place, fitted(text, TITLE_SIZE, self.pen.width - 2 * MARGIN), TITLE_SIZE, INK)

    def _legend(self) -> None:
        """Draw each role's sign and name in one row."""
        x, y = self.pen.left + MARGIN, self.pen.top + self.pen.height - MARGIN + 2
        roles = {change.role for change in self.changes.values()}
        for role in [role for role in ("intervened", "descendant", "preserved") if role in roles]:
            if role == "intervened":
                self._badge((x + 22, y), INK)
            else:
                colour, width = (LINE, 2.0) if role == "descendant" else (RULE, 1.0)
                self.pen.card((x + 22, y), (44, 20), 7, CARD, colour, width)
            self.pen.words((x + 53, y), role, SMALL_SIZE, MUTED)
            x += 77 + width_of(role, SMALL_SIZE)


def _box_width(changes: Sequence[Change]) -> float:
    """Return the width that fits the longest name or pair of values, within BOX_WIDTHS."""
    names = [width_of(change.concept, NAME_SIZE) for change in changes]
    values = [
        width_of(change.factual, VALUE_SIZE) + ARROW + width_of(change.counterfactual, VALUE_SIZE) * change.changed
        for change in changes
    ]
    return min(max(BOX_WIDTHS[0], INDENT + PADDING + max([*names, *values], default=0.0)), BOX_WIDTHS[1])


def _pen(layout: Layout, box: Point, acts: bool) -> _Pen:
    """Return a pen for the area that boxes and edges cover, with margins, and room for title and legend."""
    centres = list(layout.centres.values()) or [(0.0, 0.0)]
    points = [(x + side * box[0] / 2, y + side * box[1] / 2) for x, y in centres for side in (-1, 1)]
    xs, ys = zip(*points, *(point for path in layout.paths.values() for point in path), strict=True)
    top, bottom = min(ys) - MARGIN - HEADER * acts, max(ys) + MARGIN + LEGEND * acts
    return _Pen(min(xs) - MARGIN, top, max(xs) - min(xs) + 2 * MARGIN, bottom - top)


def _mixed(colour: RGB, other: RGB, share: float) -> RGB:
    """Return `colour` with a share in [0, 1] of `other` mixed in."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def _direction(start: Point, end: Point, length: float) -> Point:
    """Return the vector of this length from one point towards another."""
    distance = math.dist(start, end) or 1.0
    return (end[0] - start[0]) * length / distance, (end[1] - start[1]) * length / distance


def _walked(path: Sequence[Point]) -> list[float]:
    """Return how far along a path each of its points is."""
    return list(accumulate((math.dist(*ends) for ends in pairwise(path)), initial=0.0))


def dashes(path: Sequence[Point], dash: float, gap: float) -> list[list[Point]]:
    """Return a path cut into dashes."""
    walked = _walked(path)
    starts = [index * (dash + gap) for index in range(math.ceil(walked[-1] / (dash + gap)))]
    return [part(path, start, start + dash, walked) for start in starts]


def part(path: Sequence[Point], begin: float, end: float, walked: Sequence[float] = ()) -> list[Point]:
    """Return the piece of a path between two distances from its start, at most the whole of it."""
    walked = walked or _walked(path)
    begin, end = max(begin, 0.0), min(end, walked[-1])

    def at(distance: float) -> Point:
        index = min(bisect(walked, distance), len(path) - 1)
        (x, y), (dx, dy) = path[index - 1], _direction(path[index - 1], path[index], distance - walked[index - 1])
        return x + dx, y + dy

    return [at(begin), *path[bisect(walked, begin) : bisect_left(walked, end)], at(max(begin, end))]
