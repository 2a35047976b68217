"""Pictures of runs, as SVG written by hand: nothing needs to be installed."""

import html
import math
import os

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 360, 70, 40, 30
COLOURS = ["#1b6ca8", "#d1603d", "#3d8b37", "#8e5ea2", "#c9a227", "#4d4d4d", "#2aa198", "#b03060"]
FAILED = "#e00000"


class Picture:
    """Axes: seconds to the right, milliseconds upwards in powers of ten."""

    def __init__(self, title, right, most_ms):
        self.right, self.decades = max(right, 1e-9), max(1, math.ceil(math.log10(max(most_ms, 10))))
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
                      f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
                      f'<text x="{LEFT}" y="18" font-weight="bold">{html.escape(title)}</text>']
        for decade in range(self.decades + 1):
            y = self.y(10 ** decade)
            self.parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - 10}" y2="{y:.1f}" stroke="#ddd"/>')
            self.text(5, y + 4, f"{10 ** decade:,} ms")

    def x(self, value):
        return LEFT + (WIDTH - LEFT - 10) * value / self.right

    def y(self, ms):
        share = math.log10(max(ms, 1)) / self.decades
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * min(share, 1)

    def text(self, x, y, words, colour="black"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{html.escape(words)}</text>')

    def dot(self, at, ms, colour, size=2):
        self.parts.append(f'<circle cx="{self.x(at):.1f}" cy="{self.y(ms):.1f}" r="{size}" fill="{colour}" fill-opacity="0.7"/>')

    def bar(self, at, wide, ms, colour):
        x, y = self.x(at), self.y(ms)
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{self.x(at + wide) - x:.1f}" height="{HEIGHT - BOTTOM - y:.1f}" '
                          f'fill="{colour}"/>')

    def save(self, path):
        with open(path, "w") as f:
            f.write("\n".join([*self.parts, "</svg>\n"]))


def plot_requests(title, requests, path):
    """A dot a request: when it came, how long its first token took, which engine made it; red where it failed."""
    engines = sorted({r.engine for r in requests if r.engine})
    picture = Picture(title, max(r.at for r in requests), max(r.over_ms for r in requests))
    for r in requests:
        colour = COLOURS[engines.index(r.engine) % len(COLOURS)] if r.engine else FAILED
        picture.dot(r.at, r.first_ms if r.began else r.over_ms, colour if r.ok else FAILED, 2 if r.ok else 3)
    for second in range(0, int(picture.right) + 1, max(1, int(picture.right) // 12)):
        picture.text(picture.x(second) - 4, HEIGHT - BOTTOM + 16, f"{second} s")
    for i, engine in enumerate([*engines, "failed"]):
        picture.text(LEFT + i * 70, HEIGHT - 8, engine, COLOURS[i % len(COLOURS)] if engine != "failed" else FAILED)
    picture.save(path)


def plot_reports(title, reports, path):
    """Three bars a policy: p50, p95 and p99 of the first token."""
    ranks = ("p50", "p95", "p99")
    picture = Picture(title, len(reports), max(r["first_us"]["p99"] for r in reports) / 1000)
    for i, report in enumerate(reports):
        for k, rank in enumerate(ranks):
            picture.bar(i + 0.1 + k * 0.27, 0.25, report["first_us"][rank] / 1000, COLOURS[k])
        picture.text(picture.x(i + 0.1), HEIGHT - BOTTOM + 16, report["policy"])
    for k, rank in enumerate(ranks):
        picture.text(LEFT + k * 60, HEIGHT - 8, rank, COLOURS[k])
    picture.save(path)


def plot_all(folder, name, replays, reports):
    """Everything that one run of a scenario left; the files written."""
    os.makedirs(folder, exist_ok=True)
    made = []
    for i, replay in enumerate(replays):
        made.append(os.path.join(folder, f"{name}-{i + 1}.svg"))
        plot_requests(f"{name}: time to first token of each request", replay.requests, made[-1])
    for i, found in enumerate(reports):
        made.append(os.path.join(folder, f"{name}-virtual-{i + 1}.svg"))
        plot_reports(f"{name}: time to first token by policy", found, made[-1])
    return made
