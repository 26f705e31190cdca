"""The colours of the figures, as seen with a colour deficiency or printed in grey.

Deficiencies are simulated by colorspacious (Machado, Oliveira and Fernandes 2009, full
severity); distances are those of CAM02-UCS, in which 1 is about the smallest that the
eye notices side by side.
"""

import itertools

import numpy as np
import pytest
from colorspacious import cspace_convert
from matplotlib.colors import to_rgb

from adamtut.plots import LOOK

APART = 8.0  # of two lines that are drawn alike; thin lines need more than patches
CONTRAST = 3.0  # of a line on the page (WCAG 2.2, 1.4.11)
KINDS = ["deuteranomaly", "protanomaly", "tritanomaly"]


def seen(colour, sight):
    """The colour in CAM02-UCS, shape (3,), as `sight` sees it."""
    rgb = np.array(to_rgb(colour))
    if sight in KINDS:
        space = {"name": "sRGB1+CVD", "cvd_type": sight, "severity": 100}
        rgb = np.clip(cspace_convert(rgb, space, "sRGB1"), 0, 1)
    point = cspace_convert(rgb, "sRGB1", "CAM02-UCS")
    return point * [1, 0, 0] if sight == "grey" else point


def alike(look, sight):
    """Pairs of optimisers that differ neither in line style nor enough in colour."""
    return [
        (a, b)
        for a, b in itertools.combinations(look, 2)
        if look[a][1] == look[b][1]
        and np.linalg.norm(seen(look[a][0], sight) - seen(look[b][0], sight)) < APART
    ]


def contrast(colour, background="#FFFFFF"):
    """The ratio of WCAG, from 1 to 21."""

    def luminance(x):
        rgb = np.array(to_rgb(x))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    dark, light = sorted([luminance(colour), luminance(background)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("sight", ["normal", *KINDS, "grey"])
def test_two_optimisers_differ_in_colour_or_line_style(sight):
    assert alike(LOOK, sight) == []


@pytest.mark.parametrize("name", LOOK)
def test_lines_stand_out_from_the_page(name):
    assert contrast(LOOK[name][0]) >= CONTRAST


# The two tests see what they should see.


@pytest.mark.parametrize(
    ("first", "second", "sight"),
    [
        ("#D55E00", "#D55F00", "normal"),
        ("#8A7A00", "#B06000", "deuteranomaly"),  # far apart for other eyes
        ("#D55E00", "#6E8E00", "grey"),
    ],
)
def test_alike_is_seen(first, second, sight):
    look = {"a": (first, "-", "o"), "b": (second, "-", "s")}
    assert alike(look, sight) == [("a", "b")]
    if sight != "normal":
        assert alike(look, "normal") == []


def test_contrast_of_known_colours():
    assert contrast("#000000") == pytest.approx(21)
    assert contrast("#767676") == pytest.approx(4.54, abs=0.01)
    assert contrast("#F0E442") < CONTRAST  # Okabe and Ito's yellow
