"""Town's renderer: exogenous noise and values in, picture out. Deterministic, so counterfactual pictures are exact.

Rain and snow fall behind the objects, and every object keeps its geometry and base colours under any ``do()``: what an
intervention does not cause stays identical to the pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Colour, mix
from .world import Exogenous, evaluate, exogenous

SIZE = 256
SUPERSAMPLING = 2

NIGHT_LIGHT = (0.52, 0.56, 0.74)
SNOW = (244.0, 246.0, 251.0)
SKY: Mapping[tuple[str, str], tuple[Colour, Colour]] = {
    ("day", "sunny"): ((96, 168, 232), (253, 234, 200)),
    ("day", "rainy"): ((98, 108, 126), (160, 166, 174)),
    ("day", "snowy"): ((184, 194, 210), (224, 228, 234)),
    ("night", "sunny"): ((34, 42, 98), (104, 96, 150)),
    ("night", "rainy"): ((40, 46, 62), (74, 80, 94)),
    ("night", "snowy"): ((84, 92, 114), (122, 130, 148)),
}
CLOUD = {"sunny": (255.0, 252.0, 246.0), "rainy": (74.0, 82.0, 98.0), "snowy": (240.0, 243.0, 248.0)}
GRASS = {"spring": (138, 196, 92), "summer": (98, 168, 72), "autumn": (190, 158, 78), "winter": (150, 144, 118)}
WALL = {"red": (202, 66, 54), "blue": (68, 116, 200), "yellow": (240, 196, 76)}
COATS: tuple[Colour, ...] = ((46, 128, 120), (70, 76, 120), (150, 92, 60))
PAINT = {"red": (214, 44, 48), "blue": (44, 92, 212)}
LEAVES = {"pink": (244, 166, 196), "green": (64, 148, 66), "orange": (232, 130, 40)}
PAVEMENT = {"dry": (206, 196, 180), "wet": (124, 126, 132), "snow": (226, 230, 238)}
ROAD = {"dry": (126, 124, 124), "wet": (72, 78, 92), "snow": (204, 210, 222)}
PAVEMENT_TOP, ROAD_TOP, ROAD_END = 0.795, 0.845, 0.965


@dataclass(frozen=True)
class Layout:
    """Where things stand, in canvas units; decided by the noise alone."""

    horizon: float
    house: tuple[float, float, float, float]
    tree: tuple[float, float, float]
    lamp: float
    person: float
    snowman: float
    car: tuple[float, float]


def layout(noise: Exogenous) -> Layout:
    """Place the house and the tree on opposite sides; lamp, person and snowman take three of five slots."""
    g = noise.geometry
    horizon = 0.52 + 0.06 * g["horizon"][0]
    width, height = 0.30 + 0.07 * g["house"][0], 0.19 + 0.04 * g["house"][1]
    left = 0.05 + 0.14 * g["house"][2]
    house_left = left if g["side"][0] < 0.5 else 1 - left - width
    tree_x = 0.74 + 0.14 * g["tree"][0]
    tree_x = tree_x if g["side"][0] < 0.5 else 1 - tree_x
    slots = np.argsort(g["slots"])[:3] * 0.2 + 0.1 + (g["slot_jitter"] - 0.5) * 0.05
    car_x = 0.20 + 0.60 * g["car"][0]
    return Layout(
        float(horizon),
        (float(house_left), float(width), float(height), float(0.12 + 0.04 * g["house"][3])),
        (float(tree_x), float(horizon + 0.12), float(0.115 + 0.03 * g["tree"][1])),
        *(float(x) for x in slots),
        (float(car_x), 1.0 if car_x < 0.5 else -1.0),
    )


class Painter:
    """Paints one scene, back to front."""

    def __init__(self, noise: Exogenous, values: Mapping[str, str], size: int) -> None:
        self.noise, self.v, self.g = noise, values, noise.geometry
        self.night = values["time"] == "night"
        self.snowing = values["weather"] == "snowy"
        self.where = layout(noise)
        self.canvas = Canvas(size, NIGHT_LIGHT if self.night else (1.0, 1.0, 1.0))
        self.tint = (noise.geometry["tint"].reshape(10, 3) - 0.5) * 16

    def tinted(self, colour: Colour, k: int) -> Colour:
        """The colour as this scene happens to have it."""
        return tuple(c + t for c, t in zip(colour, self.tint[k], strict=True))  # type: ignore[return-value]

    def sky(self) -> None:
        """Gradient, sun or moon and stars, clouds."""
        c, h = self.canvas, self.where.horizon
        c.gradient(*SKY[self.v["time"], self.v["weather"]], end=h)
        if self.v["weather"] == "sunny":
            (self._moon if self.night else self._sun)()
        many = 2 if self.v["weather"] == "sunny" else 5
        for a, b, r in self.g["clouds"].reshape(5, 3)[:many]:
            self._cloud(a, 0.07 + 0.18 * b, (0.05 + 0.03 * r) * (1.0 if many == 2 else 1.6))

    def _sun(self) -> None:
        x, y = 0.12 + 0.76 * self.g["sun"][0], 0.10 + 0.10 * self.g["sun"][1]
        for radius, share in ((0.115, 0.25), (0.085, 0.5)):
            glow = mix(SKY["day", "sunny"][0], (255, 240, 190), share + 0.2)
            self.canvas.disc(x, y, radius, radius, glow, shines=True)
        self.canvas.disc(x, y, 0.056, 0.056, (255, 216, 84), shines=True)

    def _moon(self) -> None:
        for x, y in self.g["stars"].reshape(20, 2)[:14]:
            self.canvas.disc(x, y * (self.where.horizon - 0.10), 0.011, 0.011, (240, 238, 220), shines=True)
        x, y = 0.12 + 0.76 * self.g["sun"][0], 0.10 + 0.10 * self.g["sun"][1]
        self.canvas.disc(x, y, 0.055, 0.055, (248, 240, 206), shines=True)
        self.canvas.disc(x + 0.024, y - 0.012, 0.045, 0.045, (44, 50, 106), shines=True)

    def _cloud(self, x: float, y: float, r: float) -> None:
        colour = CLOUD[self.v["weather"]]
        for dx, dy, k in ((-0.95, 0.22, 0.7), (0, 0, 1.0), (1.0, 0.2, 0.75)):
            self.canvas.disc(x + dx * r, y + dy * r, r * k * 1.15, r * k * 0.62, colour)

    def falling(self) -> None:
        """Rain or snow in front of the sky and the hills, behind everything else."""
        drops, h = self.g["drops"].reshape(60, 3), self.where.horizon
        if self.v["weather"] == "rainy":
            colour = (134, 150, 184) if self.night else (208, 222, 242)
            for a, b, k in drops[:46]:
                x, y = a * 1.1 - 0.05, b * (h + 0.02) - 0.04
                self.canvas.line((x, y), (x - 0.024, y + 0.09 + 0.03 * k), 0.019, colour, shines=True)
        if self.snowing:
            for a, b, k in drops[:50]:
                colour = (206, 211, 226) if self.night else (255, 255, 255)
                self.canvas.disc(a, b * h, 0.013 + 0.006 * k, 0.013 + 0.006 * k, colour, shines=True)

    def hills(self) -> None:
        """Two rolling lines of the season's colour."""
        h, a = self.where.horizon, self.g["hills"]
        xs = np.linspace(0, 1, 25)
        ys = h - 0.06 - 0.05 * a[0] * np.sin(3.1 * xs + 6 * a[1]) - 0.04 * a[2] * np.sin(6.5 * xs + 6 * a[3])
        colour = self._land((230, 234, 242), 0.80, (6, 16, 34))
        self.canvas.polygon([(0, h + 0.01), *zip(xs, ys, strict=True), (1, h + 0.01)], colour, "hill")

    def _land(self, snow: Colour, shade: float, haze: Colour) -> Colour:
        if self.v["ground"] == "snow":
            return snow
        wet = 0.74 if self.v["ground"] == "wet" else 1.0
        return tuple(c * shade * wet + b for c, b in zip(GRASS[self.v["season"]], haze, strict=True))  # type: ignore

    def ground(self) -> None:
        """Lawn, pavement and road, dry, wet with puddles, or under snow."""
        c, state, h = self.canvas, self.v["ground"], self.where.horizon
        c.box(0, h, 1, 1, self.tinted(self._land(SNOW, 1.0, (0, 0, 0)), 0), "lawn")
        c.box(0, PAVEMENT_TOP, 1, ROAD_TOP, PAVEMENT[state], "pavement")
        c.box(0, ROAD_TOP - 0.008, 1, ROAD_TOP, mix(PAVEMENT[state], (60, 60, 70), 0.35))
        c.box(0, ROAD_TOP, 1, ROAD_END, ROAD[state], "road")
        dash = {"dry": (232, 226, 206), "wet": (150, 154, 162), "snow": (184, 190, 204)}[state]
        for i in range(7):
            c.box(i * 0.16, 0.895, i * 0.16 + 0.075, 0.913, dash)
        if state == "wet":
            self._puddles()
        if state == "snow":
            for y in (0.872, 0.935):
                c.box(0, y, 1, y + 0.020, (166, 173, 190))

    def _puddles(self) -> None:
        mirror = mix(SKY[self.v["time"], self.v["weather"]][1], (70, 110, 160), 0.45)
        for i, (a, b, k) in enumerate(self.g["puddles"].reshape(5, 3)):
            y = self.where.horizon + 0.07 + 0.14 * b if i < 3 else 0.868 + 0.07 * b
            rx = 0.075 + 0.05 * k
            self.canvas.disc(a, y, rx, rx * 0.24, mirror, shines=True)
            self.canvas.disc(a - rx * 0.25, y - rx * 0.05, rx * 0.4, rx * 0.06, mix(mirror, (255, 255, 255), 0.4), shines=True)

    def house(self) -> None:
        """Chimney, wall, roof, door, windows, and snow on top while it snows."""
        c, (x, w, h, roof) = self.canvas, self.where.house
        base = self.where.horizon + 0.10
        top = base - h
        slate = self.tinted((104, 68, 52) if self.g["roof"][0] < 0.5 else (78, 82, 98), 2)
        c.box(x + 0.70 * w, top - roof * 0.95, x + 0.83 * w, top - 0.02, (128, 78, 64), "house")
        c.box(x, top, x + w, base, self.tinted(WALL[self.v["house"]], 1), "house")
        c.polygon([(x - 0.035, top + 0.012), (x + w / 2, top - roof), (x + w + 0.035, top + 0.012)], slate, "house")
        if self.snowing:
            ridge = [(x + w, top - 0.012), (x + w / 2, top - roof * 0.45), (x, top - 0.012)]
            eaves = [(x - 0.035, top + 0.006), (x + w / 2, top - roof - 0.006), (x + w + 0.035, top + 0.006)]
            c.polygon(eaves + ridge, SNOW)
            c.box(x + 0.68 * w, top - roof * 0.95 - 0.012, x + 0.85 * w, top - roof * 0.95 + 0.010, SNOW)
        c.box(x + 0.43 * w, base - 0.60 * h, x + 0.59 * w, base, (94, 60, 42), "house")
        c.disc(x + 0.56 * w, base - 0.28 * h, 0.007, 0.007, (230, 200, 110))
        for k in (0.09, 0.69):
            self._window(x + k * w, top + 0.20 * h, 0.24 * w, 0.46 * h)

    def _window(self, x: float, y: float, w: float, h: float) -> None:
        lit = self.v["windows"] == "lit"
        self.canvas.box(x - 0.010, y - 0.010, x + w + 0.010, y + h + 0.010, (246, 242, 232), "window")
        glass = (255, 221, 112) if lit else (72, 92, 118)
        self.canvas.box(x, y, x + w, y + h, glass, "window", shines=lit)
        bar = (214, 170, 80) if lit else (214, 212, 206)
        self.canvas.box(x + w / 2 - 0.004, y, x + w / 2 + 0.004, y + h, bar, shines=lit)

    def tree(self) -> None:
        """A trunk with a crown of the season, or bare branches."""
        x, base, size = self.where.tree
        top = base - 0.18
        bark = (112, 78, 54)
        self.canvas.line((x, base), (x, top - 0.02), 0.038, bark, "trunk")
        if self.v["foliage"] == "bare":
            self._branch(x, top + 0.04, 0.0, size * 0.95, 0.030, 2, 1)
        else:
            self._crown(x, top - 0.05, size)

    def _crown(self, x: float, y: float, size: float) -> None:
        leaves = self.tinted(LEAVES[self.v["foliage"]], 3)
        jitter = (self.g["crown"].reshape(6, 2) - 0.5) * 0.25
        balls = ((-0.75, 0.25), (0.75, 0.25), (0, -0.55), (-0.4, -0.2), (0.4, -0.15), (0, 0.2))
        for i, (dx, dy) in enumerate(balls):
            shade = tuple(c * (0.90 + 0.035 * i) for c in leaves)
            at = (x + (dx + jitter[i, 0]) * size, y + (dy + jitter[i, 1]) * size)
            self.canvas.disc(*at, size * 0.68, size * 0.62, shade, "crown")  # type: ignore[arg-type]
        if self.snowing:
            for i, (dx, dy) in enumerate(balls[:3]):
                at = (x + (dx + jitter[i, 0]) * size, y + (dy + jitter[i, 1] - 0.32) * size)
                self.canvas.disc(*at, size * 0.5, size * 0.26, SNOW)

    def _branch(self, x: float, y: float, angle: float, length: float, width: float, depth: int, k: int) -> None:
        x2, y2 = x + length * np.sin(angle), y - length * np.cos(angle)
        self.canvas.line((x, y), (x2, y2), width, (112, 78, 54), "crown")
        if self.snowing:
            self.canvas.line((x - 0.003, y - width * 0.5), (x2 - 0.003, y2 - width * 0.5), width * 0.5, SNOW)
        for sign in (-1, 1) if depth else ():
            turn = sign * (0.38 + 0.3 * self.g["branches"][k % 24])
            self._branch(x2, y2, angle + turn, length * 0.72, max(0.02, width * 0.8), depth - 1, 2 * k + (sign > 0))

    def lamp(self) -> None:
        """The lamp post; its glow is added at the end."""
        x, iron = self.where.lamp, (54, 56, 64)
        self.canvas.line((x, PAVEMENT_TOP + 0.02), (x, 0.525), 0.024, iron, "lamp")
        self.canvas.box(x - 0.035, 0.512, x + 0.035, 0.530, iron, "lamp")
        on = self.v["lamp"] == "on"
        self.canvas.disc(x, 0.478, 0.038, 0.038, (255, 238, 158) if on else (200, 204, 208), "lamp", shines=on)

    def snowman(self) -> None:
        """Three balls, hat, scarf and carrot; stands on the lawn's edge."""
        if self.v["snowman"] != "built":
            return
        c, x, y = self.canvas, self.where.snowman, 0.785
        for dy, r in ((0.0, 0.060), (-0.085, 0.046), (-0.150, 0.036)):
            c.disc(x, y + dy - 0.03, r + 0.006, r + 0.006, (176, 190, 212), "snowman")
            c.disc(x - 0.004, y + dy - 0.034, r, r, (250, 251, 255), "snowman")
        c.box(x - 0.040, y - 0.140, x + 0.040, y - 0.118, (214, 60, 60), "snowman")
        c.box(x - 0.045, y - 0.218, x + 0.045, y - 0.203, (40, 42, 50), "snowman")
        c.box(x - 0.028, y - 0.262, x + 0.028, y - 0.210, (40, 42, 50), "snowman")
        c.polygon([(x, y - 0.188), (x + 0.042, y - 0.178), (x, y - 0.170)], (240, 140, 40), "snowman")

    def person(self) -> None:
        """Someone on the pavement, with an umbrella or without."""
        if self.v["person"] == "none":
            return
        c, x, feet = self.canvas, self.where.person, 0.832
        coat = COATS[min(int(self.g["coat"][0] * len(COATS)), len(COATS) - 1)]
        for dx in (-0.016, 0.016):
            c.line((x + dx, feet - 0.075), (x + dx * 1.6, feet), 0.018, (52, 50, 62), "person")
        c.polygon(
            [(x - 0.026, feet - 0.165), (x + 0.026, feet - 0.165), (x + 0.042, feet - 0.06), (x - 0.042, feet - 0.06)],
            coat, "person",
        )  # fmt: skip
        c.disc(x, feet - 0.192, 0.030, 0.032, (238, 196, 164), "person")
        c.disc(x, feet - 0.208, 0.030, 0.018, (92, 62, 46), "person")
        if self.v["person"] == "umbrella":
            self._umbrella(x + 0.03, feet - 0.255)

    def _umbrella(self, x: float, y: float) -> None:
        c = self.canvas
        c.line((x, y), (x, y + 0.13), 0.009, (60, 56, 70), "person")
        angles = np.linspace(np.pi, 2 * np.pi, 19)
        dome = [(x + 0.100 * np.cos(a), y + 0.078 * np.sin(a)) for a in angles]
        c.polygon(dome, (186, 84, 204), "person")
        c.polygon([(x, y - 0.078), (x + 0.036, y), (x - 0.036, y)], (232, 150, 238), "person")

    def car(self) -> None:
        """The car with its shadow and, at night, the beam of its headlights."""
        if self.v["car"] == "none":
            return
        c, (x, facing), y = self.canvas, self.where.car, 0.930
        paint = self.tinted(PAINT[self.v["car"]], 4)
        c.disc(x, y + 0.012, 0.165, 0.022, mix(ROAD[self.v["ground"]], (20, 20, 30), 0.6), "car")
        if self.v["headlights"] == "on":
            nose = x + facing * 0.145
            far = nose + facing * 0.30
            beam = [(nose, y - 0.050), (far, y - 0.085), (far, y + 0.022), (nose, y - 0.025)]
            c.polygon(beam, mix(self.canvas.paint(ROAD[self.v["ground"]]), (255, 240, 170), 0.62), "beam", shines=True)
        c.polygon([(x - 0.095, y - 0.06), (x - 0.055, y - 0.122), (x + 0.055, y - 0.122), (x + 0.095, y - 0.06)], paint, "car")
        c.box(x - 0.148, y - 0.066, x + 0.148, y - 0.010, paint, "car")
        c.polygon([(x - 0.070, y - 0.064), (x - 0.044, y - 0.110), (x + 0.044, y - 0.110), (x + 0.070, y - 0.064)], (168, 202, 222))
        c.box(x - 0.006, y - 0.112, x + 0.006, y - 0.062, paint)
        if self.snowing:
            c.box(x - 0.056, y - 0.133, x + 0.056, y - 0.117, SNOW)
        self._wheels_and_lights(x, facing, y)

    def _wheels_and_lights(self, x: float, facing: float, y: float) -> None:
        c, on = self.canvas, self.v["headlights"] == "on"
        for k in (-0.088, 0.088):
            c.disc(x + k, y - 0.008, 0.035, 0.035, (34, 34, 40), "car")
            c.disc(x + k, y - 0.008, 0.015, 0.015, (164, 166, 172), "car")
        nose = x + facing * 0.140
        c.disc(nose, y - 0.040, 0.020, 0.018, (255, 248, 196) if on else (196, 198, 200), "car", shines=on)
        c.disc(x - facing * 0.142, y - 0.040, 0.012, 0.014, (170, 30, 34), "car")

    def glow(self, picture: np.ndarray) -> np.ndarray:
        """Light around a burning lamp, added to the finished picture (S, S, 3)."""
        if self.v["lamp"] != "on":
            return picture
        size = picture.shape[0]
        yy, xx = np.mgrid[0:size, 0:size] / size
        halo = np.exp(-((xx - self.where.lamp) ** 2 + (yy - 0.478) ** 2) / (2 * 0.06**2))
        strength = 0.55 if self.night else 0.25
        lit = picture + strength * halo[..., None] * np.array((255.0, 214.0, 120.0))
        return np.clip(lit, 0, 255).astype(np.uint8)

    def scene(self) -> Canvas:
        """Paint everything, back to front."""
        for layer in (self.sky, self.hills, self.falling, self.ground, self.house, self.tree, self.lamp):
            layer()
        for layer in (self.snowman, self.person, self.car):
            layer()
        return self.canvas


def render(noise: Exogenous, values: Mapping[str, str], size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Picture (size, size, 3) uint8 and thing ids (size, size) uint8 of one scene."""
    painter = Painter(noise, values, size * SUPERSAMPLING)
    picture, things = painter.scene().result(size)
    return painter.glow(picture), things


def picture(seed: int, do: Mapping[str, str] | None = None, size: int = SIZE) -> np.ndarray:
    """The picture (size, size, 3) uint8 of scene `seed` under `do`: its exact counterfactual when `do` is not empty."""
    noise = exogenous(seed)
    return render(noise, evaluate(noise, do), size)[0]
