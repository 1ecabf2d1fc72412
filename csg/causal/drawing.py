"""Drawing a causal graph, or the counterfactual that an intervention makes of it, with Pillow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from PIL import Image

from .canvas import Canvas, Sheet
from .counterfactual import Change, Counterfactual, propagate
from .curves import Point, dashes, direction, length, part
from .graph import CausalGraph, Concept, Edge
from .layout import Layout, lay_out
from .lettering import fitted, width_of
from .palette import RGB, concept_rgb, hex_to_rgb
from .routing import routes

PAPER = hex_to_rgb("#faf6ee")
CARD = hex_to_rgb("#fffdf8")
INK = hex_to_rgb("#3d362e")
MUTED = hex_to_rgb("#857a6c")
RULE = hex_to_rgb("#d9d0c1")
LINE = hex_to_rgb("#a2988a")
CUT = hex_to_rgb("#c2573c")
GOOD, SLIPPED = hex_to_rgb("#3f8f5b"), hex_to_rgb("#b3202a")
WHITE = (255, 255, 255)

BOX_WIDTHS = (170.0, 290.0)
BOX_HEIGHT = 68.0
GAP = (96.0, 34.0)
MARGIN = 44.0
HEADER = 40.0
LEGEND = 44.0
INDENT = 38.0
PADDING = 18.0
ARROW = 30.0
RADIUS = 14.0
TICK = (((-5, 0), (-1.5, 4), (5, -4)),)
CROSS = (((-4, -4), (4, 4)), ((-4, 4), (4, -4)))
NAME_SIZE, VALUE_SIZE, SMALL_SIZE, TITLE_SIZE = 19, 15, 13, 20
FADED = 0.45
DASH = (7, 6)
MAX_DASHES = 20_000
"""So many in one picture; of more and longer edges the dashes are longer."""


def draw(shown: CausalGraph | Counterfactual, verdicts: Mapping[str, bool] | None = None) -> Image.Image:
    """Return an RGB picture of a graph or a counterfactual, causes to the left of their effects.

    With interventions pending, the intervened concepts carry a do() badge and the edges into them
    are drawn cut, their descendants stand out, and what is preserved fades back. Proposed edges are
    dashed. `verdicts` put a tick or a cross on the concepts that they name. The longer side has at most 4096 pixels.
    """
    settled = isinstance(shown, Counterfactual)
    counterfactual = shown if isinstance(shown, Counterfactual) else propagate(shown, {})
    return _Drawing(counterfactual, settled, verdicts or {}).picture()


class _Drawing:
    """One picture in the making: shadows first, then edges, boxes and words.

    `settled` says whether the descendants' values are known, or still to be propagated.
    """

    def __init__(self, counterfactual: Counterfactual, settled: bool, verdicts: Mapping[str, bool]) -> None:
        self.verdicts = verdicts
        self.graph = counterfactual.graph
        self.changes = {change.concept: change for change in counterfactual.changes}
        self.acts = bool(self.graph.interventions)
        self.settled = settled
        self.box = (_box_width(self.graph, counterfactual.changes), BOX_HEIGHT)
        self.layout = lay_out(self.graph, self.box, GAP)
        self.sheet = _sheet(self.layout, self.box, self.acts)
        self.canvas = Canvas(self.sheet, PAPER)

    def picture(self) -> Image.Image:
        self._shadows()
        paths = routes(self.graph.edges, self.layout, self.box)
        dashed = sum(length(paths[edge.cause, edge.effect]) for edge in self.graph.edges if edge.status == "proposed")
        self.dash_unit = max(self.sheet.pixel, dashed / (sum(DASH) * MAX_DASHES))
        for edge in sorted(self.graph.edges, key=self._carries):
            self._edge(edge, paths[edge.cause, edge.effect])
        for index, concept in enumerate(self.graph.concepts):
            self._box(concept, concept_rgb(index))
        if self.acts:
            self._title()
            self._legend()
        return self.canvas.finished()

    def _fades(self, name: str) -> bool:
        return self.acts and self.changes[name].role == "preserved" and self.verdicts.get(name) is not False

    def _tone(self, name: str, colour: RGB) -> RGB:
        """Return the colour, faded towards the paper for a preserved concept."""
        return _mixed(colour, PAPER, FADED) if self._fades(name) else colour

    # ------------------------------------------------------------------------------------------ boxes

    def _shadows(self) -> None:
        depths = [((x, y + 3), 20 if self._fades(name) else 46) for name, (x, y) in self.layout.centres.items()]
        self.canvas.shadows(depths, self.box, RADIUS, INK)

    def _box(self, concept: Concept, colour: RGB) -> None:
        centre, change = self.layout.centres[concept.name], self.changes[concept.name]
        tone, left = self._tone(concept.name, colour), centre[0] - self.box[0] / 2
        if self.verdicts.get(concept.name) is False:
            self.canvas.card(centre, self.box, RADIUS, _mixed(CARD, SLIPPED, 0.08), SLIPPED, 2.5)
        elif not self.acts or change.role == "preserved":
            self.canvas.card(centre, self.box, RADIUS, self._tone(concept.name, CARD), self._tone(concept.name, RULE))
        else:
            tint, width = (0.14, 2.5) if change.changed else (0.04, 1.75)
            self.canvas.card(centre, self.box, RADIUS, _mixed(CARD, colour, tint), tone, width)
        self.canvas.disc((left + 22, centre[1] - 12), 14, tone)
        name = fitted(concept.name, NAME_SIZE, self.box[0] - INDENT - PADDING)
        self.canvas.words((left + INDENT, centre[1] - 12), name, NAME_SIZE, self._tone(concept.name, INK))
        self._value(change, (left + INDENT, centre[1] + 15))
        if concept.name in self.graph.interventions:
            self._badge(centre, colour)
        if concept.name in self.verdicts:
            self._mark((left + 4, centre[1] - self.box[1] / 2 + 4), self.verdicts[concept.name])

    def _mark(self, middle: Point, good: bool) -> None:
        """Draw a white tick on green, or a white cross on red."""
        (x, y), strokes = middle, TICK if good else CROSS
        self.canvas.disc(middle, 24, GOOD if good else SLIPPED)
        for stroke in strokes:
            self.canvas.stroke([(x + dx, y + dy) for dx, dy in stroke], WHITE, 2.6)

    def _value(self, change: Change, start: Point) -> None:
        """Write the value, or `factual -> counterfactual` where the two differ or may differ."""
        after = _after(change, self.settled)
        room = self.box[0] - INDENT - PADDING - (ARROW if after else 0)
        share = max(room / 2, room - width_of(after, VALUE_SIZE))
        before = fitted(change.factual, VALUE_SIZE, share)
        self.canvas.words(start, before, VALUE_SIZE, self._tone(change.concept, MUTED))
        if after:
            x, y = start[0] + width_of(before, VALUE_SIZE) + 6, start[1] + 1
            self.canvas.stroke([(x, y), (x + 14, y)], INK, 1.5)
            self.canvas.head((x + 18, y), (1.0, 0.0), INK, 7)
            after = fitted(after, VALUE_SIZE, room - width_of(before, VALUE_SIZE))
            self.canvas.words((x + ARROW - 6, start[1]), after, VALUE_SIZE, INK)

    def _badge(self, centre: Point, colour: RGB) -> None:
        middle = (centre[0] + self.box[0] / 2 - 32, centre[1] - self.box[1] / 2)
        self._pill(middle, _mixed(colour, INK, 0.4))

    def _pill(self, middle: Point, colour: RGB) -> None:
        self.canvas.card(middle, (44, 22), 11, colour)
        self.canvas.words(middle, "do( )", SMALL_SIZE, WHITE, "mm")

    # ------------------------------------------------------------------------------------------ edges

    def _carries(self, edge: Edge) -> bool:
        """Whether the effect of an intervention runs, or may run, along the edge."""
        if edge.status != "confirmed" or edge.effect in self.graph.interventions:
            return False
        cause, effect = self.changes[edge.cause], self.changes[edge.effect]
        if self.settled:
            return cause.changed and effect.changed
        return effect.role == "descendant" and (cause.changed or cause.role == "descendant")

    def _edge(self, edge: Edge, path: Sequence[Point]) -> None:
        if edge.effect in self.graph.interventions:
            self._cut_edge(edge, path)
            return
        carries = self._carries(edge)
        colour, width = (INK, 2.6) if carries else (self._tone(edge.cause, LINE), 1.8)
        shaft = part(path, 0, length(path) - 9)
        self._stroke(edge, shaft, colour, width)
        self.canvas.head(path[-1], direction(shaft[-1], path[-1]), colour, 11)

    def _cut_edge(self, edge: Edge, path: Sequence[Point]) -> None:
        """Draw an edge that surgery removes: pale, with a gap and a stroke on either side of it."""
        total, pale = length(path), _mixed(LINE, PAPER, 0.4)
        before, after = part(path, 0, total - 36), part(path, total - 24, total - 3)
        self._stroke(edge, before, pale, 1.8)
        self._stroke(edge, after, pale, 1.8)
        along = direction(before[-1], after[0])
        self._slash(before[-1], along)
        self._slash(after[0], along)

    def _slash(self, middle: Point, along: Point) -> None:
        """Draw a short stroke across the direction `along`, a little aslant."""
        (x, y), (dx, dy) = middle, (3 * along[0] + 7 * along[1], 3 * along[1] - 7 * along[0])
        self.canvas.stroke([(x - dx, y - dy), (x + dx, y + dy)], CUT, 2.2)

    def _stroke(self, edge: Edge, path: Sequence[Point], colour: RGB, width: float) -> None:
        dash, gap = (size * self.dash_unit for size in DASH)
        for piece in dashes(path, dash, gap) if edge.status == "proposed" else [path]:
            self.canvas.stroke(piece, colour, width)

    # ------------------------------------------------------------------------------------------ words

    def _title(self) -> None:
        text = ", ".join(f"do({name} = {value})" for name, value in self.graph.interventions.items())
        place = (self.sheet.left + MARGIN, self.sheet.top + MARGIN - 6)
        self.canvas.words(place, fitted(text, TITLE_SIZE, self.sheet.width - 2 * MARGIN), TITLE_SIZE, INK)

    def _legend(self) -> None:
        x, y = self.sheet.left + MARGIN, self.sheet.top + self.sheet.height - MARGIN + 2
        roles = {change.role for change in self.changes.values()}
        for role in ("intervened", "descendant", "preserved"):
            if role in roles:
                x = self._legend_mark(role, (x, y)) + 24

    def _legend_mark(self, role: str, start: Point) -> float:
        """Draw one sign with its word; return where the word ends."""
        x, y = start
        if role == "intervened":
            self._pill((x + 22, y), INK)
        else:
            colour, width = (LINE, 2.0) if role == "descendant" else (RULE, 1.0)
            self.canvas.card((x + 22, y), (44, 20), 7, CARD, colour, width)
        self.canvas.words((x + 53, y), role, SMALL_SIZE, MUTED)
        return x + 53 + width_of(role, SMALL_SIZE)


def _after(change: Change, settled: bool) -> str:
    """Return what to write behind the factual value, if anything."""
    if change.changed:
        return change.counterfactual
    return "?" if change.role == "descendant" and not settled else ""


def _box_width(graph: CausalGraph, changes: Iterable[Change]) -> float:
    """Return the width that fits the longest name or pair of values, within BOX_WIDTHS."""
    names = [width_of(name, NAME_SIZE) for name in graph.names]
    values = [
        width_of(change.factual, VALUE_SIZE) + ARROW + width_of(change.counterfactual, VALUE_SIZE) * change.changed
        for change in changes
    ]
    widest = max([*names, *values], default=0.0) + INDENT + PADDING
    return min(max(widest, BOX_WIDTHS[0]), BOX_WIDTHS[1])


def _sheet(layout: Layout, box: Point, acts: bool) -> Sheet:
    """Return the area that the boxes cover, with margins, and room for title and legend."""
    points = list(layout.centres.values()) or [(0.0, 0.0)]
    left = min(x for x, _ in points) - box[0] / 2 - MARGIN
    top = min(y for _, y in points) - box[1] / 2 - MARGIN - HEADER * acts
    right = max(x for x, _ in points) + box[0] / 2 + MARGIN
    bottom = max(y for _, y in points) + box[1] / 2 + MARGIN + LEGEND * acts
    return Sheet(left, top, right - left, bottom - top)


def _mixed(colour: RGB, other: RGB, share: float) -> RGB:
    """Return `colour` with a share in [0, 1] of `other` mixed in."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue
