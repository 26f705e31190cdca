"""The look of the book: one style, one look per optimiser, a few kinds of picture.

The hues are Okabe and Ito's, told apart by the colour-blind, in six steps of lightness;
two optimisers differ in line style or lightness, so that a picture also reads in
greyscale.
"""

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from adamtut.surfaces import Surface

BLACK, ORANGE, SKY, GREEN, OLIVE, BLUE, RED, PURPLE, GREY = (
    "#000000",
    "#C07800",
    "#2E8BD6",
    "#008560",
    "#6E5500",
    "#004488",
    "#D55E00",
    "#451562",
    "#6E6E6E",
)
LONG, DOTS = (0, (10, 3)), (0, (5, 1.5, 1, 1.5, 1, 1.5))  # dashes in line widths
# colour, line style, marker
LOOK = {
    "sgd": (GREY, "-", "o"),
    "momentum": (BLUE, "--", "s"),
    "nesterov": (BLUE, "-.", "D"),
    "adagrad": (PURPLE, ":", "v"),
    "rmsprop": (GREEN, "-.", "^"),
    "rmsprop_centered": (GREEN, ":", "<"),
    "adadelta": (OLIVE, "--", ">"),
    "adam": (RED, "-", "*"),
    "amsgrad": (ORANGE, "--", "P"),
    "adamw": (BLACK, ":", "X"),
    "adamax": (RED, ":", "1"),
    "nadam": (RED, "-.", "2"),
    "radam": (BLACK, DOTS, "3"),
    "yogi": (ORANGE, LONG, "h"),
    "adabelief": (OLIVE, LONG, "H"),
    "adabound": (PURPLE, LONG, "d"),
    "adan": (OLIVE, "-", "8"),
    "adopt": (OLIVE, "-.", "p"),
    "ademamix": (OLIVE, ":", "4"),
    "cautious": (BLACK, LONG, "+"),
    "grams": (BLACK, "--", "x"),
    "mars": (BLACK, "-.", "|"),
    "adafactor": (PURPLE, "-", "v"),
    "adam_mini": (PURPLE, "--", "<"),
    "lars": (PURPLE, "-.", "^"),
    "lamb": (SKY, DOTS, ">"),
    "signum": (BLUE, "-", "_"),
    "lion": (BLUE, ":", "d"),
    "shampoo": (GREEN, LONG, "s"),
    "soap": (GREEN, "--", "D"),
    "muon": (BLUE, LONG, "p"),
    "d_adaptation": (BLUE, DOTS, "h"),
    "prodigy": (OLIVE, DOTS, "H"),
    "schedule_free": (BLACK, "-", "8"),
    "sophia": (GREY, DOTS, "X"),
}
COLOR = {name: look[0] for name, look in LOOK.items()}


def style() -> None:
    """Set matplotlib to the style of the book; called once at the top of a chapter."""
    mpl.rcParams.update(
        {
            "figure.figsize": (7, 4),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 110,
            "font.size": 11,
            "lines.linewidth": 2,
            "axes.grid": True,
            "grid.color": "#DDDDDD",
            "axes.axisbelow": True,
            "image.cmap": "cividis",
            "legend.frameon": False,
        }
    )
    # nbval compares text outputs: a figure that has none on one backend has none on all
    plt.close("all")


def look(name: str, **changes) -> dict:
    """Keywords for `plot` that draw the optimiser `name` as everywhere in the book."""
    color, linestyle, _ = LOOK[name]
    return {"color": color, "linestyle": linestyle, "label": name} | changes


def contours(ax: plt.Axes, surface: Surface, levels: int = 20) -> None:
    """Contour lines of a surface in two dimensions, spaced evenly in the root of f.

    Minima are marked with a cross.
    """
    left, right, bottom, top = surface.window
    x, y = np.meshgrid(np.linspace(left, right, 300), np.linspace(bottom, top, 300))
    z = surface.f(np.stack([x, y], axis=-1))
    low = z.min()
    at = low + (z.max() - low) * np.linspace(0, 1, levels) ** 3
    ax.contour(x, y, z, levels=at[1:], colors="#B8B8B8", linewidths=0.8)
    ax.plot(*surface.minima.T, "x", color=BLACK, markersize=8, markeredgewidth=2)
    ax.set(xlim=(left, right), ylim=(bottom, top), xlabel="$x$", ylabel="$y$")
    ax.grid(visible=False)


def path(
    ax: plt.Axes, points: np.ndarray, name: str, *, every: int = 1, **changes
) -> None:
    """A walk in the plane, shape (steps + 1, 2), with a marker each `every` steps."""
    keywords = look(name, marker=LOOK[name][2], markersize=5, markevery=every) | changes
    ax.plot(points[:, 0], points[:, 1], **keywords)


def band(ax: plt.Axes, x: Sequence, runs: np.ndarray, name: str, **changes) -> None:
    """Runs of shape (seeds, len(x)): the median as a line, all seeds as a band."""
    keywords = look(name) | changes
    ax.plot(x, np.median(runs, axis=0), **keywords)
    ax.fill_between(
        x, runs.min(axis=0), runs.max(axis=0), color=keywords["color"], alpha=0.2, lw=0
    )


def label_ends(ax: plt.Axes, gap: float = 0.055) -> None:
    """Write each line's label at its right end, in its colour, in place of a legend.

    Labels closer than `gap` (a share of the height of the axes) are moved apart.
    """
    lines = [x for x in ax.get_lines() if not x.get_label().startswith("_")]
    ax.autoscale_view()  # matplotlib puts it off, and the limits are needed now
    to_axes = ax.transAxes.inverted()
    ends = []
    for line in lines:
        finite = line.get_xydata()[np.isfinite(line.get_xydata()).all(axis=1)]
        x, y = to_axes.transform(ax.transData.transform(finite[-1]))
        # near the right spine the label would begin on it
        ends.append([np.clip(y, 0, 1), 1.0 if x > 0.9 else x, line])
    ends.sort(key=lambda end: end[0])
    last = -np.inf
    for y, x, line in ends:
        last = max(y, last + gap)
        ax.annotate(
            line.get_label(),
            (x, last),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            color=0.65 * np.array(mpl.colors.to_rgb(line.get_color())),  # legible text
            va="center",
            annotation_clip=False,
        )
