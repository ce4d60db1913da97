#!/usr/bin/env python3
"""Draws what `scripts/bench-etcd.sh -o json` measured over the number of clients: throughput, latency, processor time.

  scripts/bench-etcd.sh --clients "1 4 16 64 256 1000" --workloads "put get" -o json > both.json
  scripts/curves.py both.json > docs/beside-etcd.svg

One row of three pictures for each workload. Only Python's standard library is needed.
"""
import html, json, math, sys

SIDES = {"quorate": "#0b6e4f", "etcd": "#b5541c"}
# Title, unit, the field and how its line is drawn.
PICTURES = [
    ("throughput", "operations/s", [("ops_per_s", "")]),
    ("latency", "ms: p50, and dashed p99", [("p50_ms", ""), ("p99_ms", "5 4")]),
    ("processor time of the members", "µs for each operation", [("server_cpu_us_per_op", "")]),
]
WIDTH, HEIGHT, LEFT, TOP, GAP = 270, 190, 52, 64, 76


def text(x, y, words, size=11, anchor="middle", color="#333"):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}">{html.escape(words)}</text>'


def short(value):
    """A mark of an axis: 20k rather than 20000."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def decades(least, most):
    """1, 2, 5, 10, … from the one below `least` to the one above `most`."""
    marks = [step * 10.0**power for power in range(-3, 8) for step in (1, 2, 5)]
    low = max(mark for mark in marks if mark <= least)
    high = min(mark for mark in marks if mark >= most)
    return [mark for mark in marks if low <= mark <= high]


def picture(runs, x0, y0, unit, fields):
    """One picture, both axes logarithmic."""
    clients = [run["clients"] for run in runs]
    values = [run[side][field] for run in runs for side in SIDES for field, _ in fields]
    if None in values:
        sys.exit("error: not everything was measured: " + ", ".join(field for field, _ in fields))
    marks = decades(min(values), max(values))

    def across(count):
        span = math.log(clients[-1] / clients[0]) or 1
        return x0 + WIDTH * math.log(count / clients[0]) / span

    def up(value):
        return y0 + HEIGHT - HEIGHT * math.log(value / marks[0]) / math.log(marks[-1] / marks[0])

    parts = [text(x0, y0 - 8, unit, anchor="start", color="#777")]
    for mark in marks:
        parts.append(f'<path d="M{x0} {up(mark):.1f}h{WIDTH}" stroke="#e3e3e3"/>')
        parts.append(text(x0 - 6, up(mark) + 4, short(mark), anchor="end"))
    for count in clients:
        parts.append(text(across(count), y0 + HEIGHT + 16, short(count)))
    for side, color in SIDES.items():
        for field, dashes in fields:
            points = [(across(run["clients"]), up(run[side][field])) for run in runs]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2" stroke-dasharray="{dashes}"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{color}"/>' for x, y in points]
    return parts


def draw(rows):
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    width = len(PICTURES) * (WIDTH + GAP) + 20
    height = len(workloads) * (HEIGHT + TOP + 30) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for place, (side, color) in enumerate(SIDES.items()):
        x = LEFT + place * 110
        parts.append(f'<path d="M{x} 22h26" stroke="{color}" stroke-width="3"/>')
        parts.append(text(x + 34, 26, side, size=13, anchor="start"))
    parts.append(text(width - 20, 26, "across: clients, each with one operation under way", size=12, anchor="end", color="#777"))
    for row, workload in enumerate(workloads):
        runs = sorted((run for run in rows if run["workload"] == workload), key=lambda run: run["clients"])
        for column, (title, unit, fields) in enumerate(PICTURES):
            x, y = LEFT + column * (WIDTH + GAP), 44 + TOP + row * (HEIGHT + TOP + 30)
            parts.append(text(x, y - 28, f"{workload}: {title}", size=14, anchor="start"))
            parts += picture(runs, x, y, unit, fields)
    return "\n".join(parts + ["</svg>"])


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        sys.exit(0 if len(sys.argv) == 2 else 2)
    with open(sys.argv[1], encoding="utf-8") as measured:
        print(draw(json.load(measured)))
