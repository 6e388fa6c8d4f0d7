"""Charts: what they draw, say in words, and repeat in their tables."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from daemon.charts.bars import Series, bars, columns, stacked_bars
from daemon.charts.chart import Chart, stylesheet
from daemon.charts.curves import Curve, ReliabilityBin, curves, reliability
from daemon.charts.histogram import AXIS, HEAD, HEIGHT, Bins, histogram, histogram_of
from daemon.charts.lines import Limits, Line, lines
from daemon.charts.matrix import matrix
from daemon.charts.pie import pie
from daemon.charts.text import axis_end, share, shortened, ticks

ATTACK = "<script>alert(1)</script>\"'&"
LONG = "An archive with a very long name in the east wing of the second building"


def pictures() -> dict[str, Chart]:
    """One chart of each kind, and its extremes: nothing, one value, long names, large numbers."""
    names = ("Mass", LONG, ATTACK)
    many = (1_234_567, 0, 3)
    series = (Series("analysed", many), Series("not analysed", (5, 0, 2), 2))
    limits = Limits(0.2, (0.1, None, 0.12), (0.3, None, 0.28))
    bins = (ReliabilityBin(0.1, 0.15, 0.05, 0.3, 1_000_000), ReliabilityBin(0.9, 1, 0.2, 1, 1))
    return {
        "bars": bars("Findings", names, many, 1_500_000),
        "no bars": bars("Findings", (), (), 0),
        "only zeros": bars("Findings", names, (0, 0, 0), 0),
        "stacked bars": stacked_bars("Senders", names, series),
        "columns": columns("Per day", names, series),
        "one column": columns("Per day", ("a",), (Series("x", (1,)),)),
        "no column": columns("Per day", (), (Series("x", ()),)),
        "pie": pie("Healthy", names, many),
        "one part": pie("Healthy", ("yes", "no"), (0, 7)),
        "no part": pie("Healthy", ("yes", "no"), (0, 0)),
        "histogram": histogram(ATTACK, Bins(0.5, (5, 0), (0, 1_000_000)), 0.25),
        "no film": histogram_of("Mass", np.zeros(0, np.float32), np.zeros(0, np.bool_), 0.1),
        "lines": lines(
            "Calls", names, (Line(ATTACK, (0.1, None, 0.4)),), limits=limits, alarms=(2,)
        ),
        "flat line": lines("Calls", ("a", "b"), (Line("x", (0.0, 0.0)),), baseline=1),
        "no line": lines("Calls", (), (Line("x", ()),)),
        "only gaps": lines("Calls", ("a",), (Line("x", (None,)),)),
        "curves": curves(
            "ROC", (Curve(ATTACK, ((0, 0), (0, 0.5), (1, 1))),), ("x", "y"), point=(0.1, 0.6)
        ),
        "no curve": curves("ROC", (), ("x", "y")),
        "reliability": reliability("Reliability", bins, ("said", "found")),
        "no bin": reliability("Reliability", (), ("said", "found")),
    }


@pytest.mark.parametrize("kind", pictures())
def test_a_figure_is_well_formed_and_says_its_facts(kind: str) -> None:
    chart = pictures()[kind]
    figure = ElementTree.fromstring(chart.__html__())  # noqa: S314
    picture = figure.find("svg")
    assert picture is not None
    assert picture.get("role") == "img"
    assert len(picture.get("aria-label", "")) > 10
    assert "nan" not in chart.picture
    assert not {name for part in figure.iter() for name in part.attrib} & {
        "style",
        "fill",
        "onclick",
    }
    assert not {part.tag for part in figure.iter()} & {"script", "style", "image"}
    table = figure.find("details/div/table")
    assert table is not None
    widths = {len(row) for row in table.iter("tr")}
    assert widths == {len(chart.table.heads)}


def test_every_class_of_a_figure_has_a_rule() -> None:
    known = set(re.findall(r"\.(chart[\w-]*)", stylesheet()))
    drawn = "".join(chart.__html__() for chart in pictures().values())
    drawn += matrix("Pairs", ("a", "b"), ((1, 2), (2, 9)))
    used = {name for text in re.findall(r'class="([^"]+)"', drawn) for name in text.split()}
    # A picture's kind names its margins, which some kinds have none of.
    assert used - known <= {"chart-bars"}


def test_bars_are_as_long_as_their_counts() -> None:
    chart = bars("Findings", ("a", "b"), (40, 10), 100)
    widths = re.findall(r'width="([\d.]+)%" height="[\d.]+" class="chart-fill-1"', chart.picture)
    assert [float(width) for width in widths] == [100, 25]
    assert chart.table.rows == (("a", "40", "40 %"), ("b", "10", "10 %"))
    assert "Findings, of 100: a 40, b 10" in chart.picture


def test_columns_stand_on_each_other() -> None:
    chart = columns("Days", ("a",), (Series("x", (3,)), Series("y", (1,), 2)))
    boxes = re.findall(
        r'y="([\d.]+)" width="[\d.]+%" height="([\d.]+)" class="chart-fill', chart.picture
    )
    (low, tall), (top, short) = ((float(y), float(height)) for y, height in boxes)
    assert tall == pytest.approx(3 * short, abs=0.02)
    assert top + short == pytest.approx(low, abs=0.02)


@pytest.mark.parametrize("counts", [(0, 5), (5, 0), (1, 5), (5, 1), (1, 10_000), (1, 10**7)])
def test_pie(counts: tuple[int, int]) -> None:
    drawn = pie("Healthy", ("no", "yes"), counts).picture
    assert ("<path" in drawn) == (0 not in counts)
    assert drawn.count("<circle") == 1, "the larger part, behind the other"
    assert ("chart-fill-1" in drawn) == (counts[0] > 0)
    assert ("chart-fill-2" in drawn) == (counts[1] > 0)


def test_histogram_draws_every_image_on_its_side_of_the_threshold() -> None:
    values = np.asarray([0.0, 0.05, 0.0999, 0.1, 0.3, 0.99, 1.0], dtype=np.float32)
    drawn = histogram_of("Mass", values, values >= np.float32(0.1), 0.1).picture
    heights = re.findall(r'height="([\d.]+)" class="chart-fill-(\d)"', drawn)
    unit = (HEIGHT - AXIS - HEAD) / 2
    counted = {
        colour: sum(float(height) for height, painted in heights if painted == colour) / unit
        for colour in "12"
    }
    assert counted["1"] == pytest.approx(3, abs=0.01)
    assert counted["2"] == pytest.approx(4, abs=0.01)
    (line,) = re.findall(r'x1="([\d.]+)%" x2="\1%"', drawn)
    assert float(line) == pytest.approx(10, abs=0.1)


def test_lines_break_where_a_value_is_missing() -> None:
    drawn = lines("Calls", "abcd", (Line("x", (0.1, 0.2, None, 0.4)),), alarms=(3,))
    (path,) = re.findall(r'd="([^"]+)" class="chart-line-1"', drawn.picture)
    assert (path.count("M"), path.count("L")) == (2, 1)
    assert "alarms: d" in drawn.picture
    assert drawn.table.rows[2] == ("c", "–", "")
    assert drawn.table.rows[3] == ("d", "0.400", "alarm")


def test_an_roc_curve_goes_in_steps_and_a_table_of_many_points_is_short() -> None:
    points = tuple((i / 1000, i / 1000) for i in range(1001))
    chart = curves("ROC", (Curve("a", points),), ("x", "y"))
    assert chart.picture.count("V") == 1000
    assert len(chart.table.rows) <= 62
    assert chart.table.rows[-1] == ("a", "1.000", "1.000")


def test_matrix_shades_pairs_and_outlines_the_diagonal() -> None:
    drawn = matrix("Pairs", ("a", "b", ATTACK), ((9, 4, 0), (4, 5, 1), (0, 1, 2)))
    cells = re.findall(r'<td class="([\w-]+)">(\d+)</td>', drawn)
    assert cells[:4] == [
        *(
            ("chart-self", "9"),
            ("chart-shade-8", "4"),
            ("chart-shade-0", "0"),
            ("chart-shade-8", "4"),
        )
    ]
    assert ("chart-shade-2", "1") in cells
    assert "<script>" not in drawn
    assert "nan" not in matrix("Pairs", ("a",), ((0,),))


@pytest.mark.parametrize(
    ("largest", "end"), [(0.0, 0.001), (0.037, 0.04), (0.04, 0.05), (0.5, 0.6), (0.95, 1.0), (1, 1)]
)
def test_axis_end(largest: float, end: float) -> None:
    assert axis_end(largest) == end


def test_share() -> None:
    assert [share(n, 1000) for n in (0, 1, 99, 100, 1000)] == [
        *("0 %", "0.1 %", "9.9 %", "10 %", "100 %")
    ]
    assert share(0, 0) == "–"


def test_ticks_are_round_numbers_within_the_axis() -> None:
    assert ticks(0, 1) == (0, 0.5, 1)
    assert ticks(0, 7, 4) == (0, 2, 4, 6)
    assert ticks(0.031, 0.049, 4) == (0.035, 0.04, 0.045)
    for high in (1, 3, 10, 999, 1_234_567):
        assert 2 <= len(ticks(0, high, 4)) <= 4
    with pytest.raises(ValueError, match="an axis"):
        ticks(1, 1)


def test_a_long_name_is_shortened() -> None:
    assert shortened("Mass") == "Mass"
    assert shortened(LONG).endswith("…")
    assert len(shortened(LONG)) <= 34


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_colours_stand_out_from_the_card_in_light_and_dark() -> None:
    light, dark = stylesheet().split("@media screen and", maxsplit=1)
    for rules in (light, dark):
        colours = dict(re.findall(r"--chart-(\w+): (#\w{6});", rules))
        card = luminance(colours["card"])
        for name in ("1", "2", "3", "4", "5", "alarm", "soft", "ink", "axis"):
            pair = sorted((card, luminance(colours[name])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3, name
