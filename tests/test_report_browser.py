"""Reports as they are seen: opened in Chromium, looked at, clicked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from browser import Page, browser, needs_browser
from helpers import make_rows
from pyarrow import parquet

import shoal

pytestmark = pytest.mark.slow

CITIES = Path(__file__).resolve().parents[1] / "examples" / "data" / "cities.parquet"
#: Names that would be markup, if they were not text.
HOSTILE = [
    "<img src=x onerror=\"document.title='broken'\">",
    "</script><script>document.title='broken'</script>",
    "<b>bold</b> & \"quoted\" 'twice' {{ 1 + 1 }} ${1} \u2028",
]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    needs_browser()
    with browser() as opened:
        yield opened


def fitted(rows: Any, k: int = 5, **given: Any) -> shoal.KMeansClustering:
    how = {"initial_clusters": "kmeans_plus_plus", "use_mini_batch": False, **given}
    return shoal.KMeansClustering(k, **how).fit(rows)


def cities(path: Path) -> None:
    table = parquet.read_table(CITIES)
    table = table.take(np.arange(0, len(table), 12))
    rows = shoal.to_sphere(table["latitude"].to_numpy(), table["longitude"].to_numpy())
    history = shoal.hooks.History()
    model = shoal.KMeansClustering(20, distance_metric="cosine", use_mini_batch=False)
    model.fit(rows, monitors=[history])
    shoal.report(model, rows, path, metadata=table, history=history, title="Cities")


def pixels(path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 255, (3000, 3)).astype(np.uint8)
    shoal.report(fitted(rows), rows, path, image_shape=(1, 1, 3), title="Pixels")


def patches(path: Path) -> None:
    rows = make_rows(400, 16)
    digits = {"digit": np.arange(400) % 10}
    shoal.report(fitted(rows), rows, path, image_shape=(4, 4), title="Patches", metadata=digits)


def customers(path: Path) -> None:
    rows = make_rows(2000, 3)
    rows[7, 1] = np.nan
    table = {"id": [f"C{i}" for i in range(2000)], "age": rows[:, 0], "income": rows[:, 1]}
    file = path.with_name("customers.parquet")
    parquet.write_table(pa.table({**table, "visits": rows[:, 2]}), file)
    model = shoal.KMeansClustering(
        4,
        feature_columns=["age", "income", "visits"],
        on_bad_rows="skip",
        model_dir=str(path.with_name("run")),
        config=shoal.RunConfig(save_summary_steps=1, save_checkpoints_steps=5),
    )
    with pytest.warns(UserWarning, match="dropped 1 of 2000 rows"):
        model.fit(str(file), steps=15)
    with pytest.warns(UserWarning, match="dropped 1 of 2000 rows"):
        shoal.report(model, str(file), path, title="Customers")


def texts(path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rows = sparse.random(500, 60, 0.1, "csr", random_state=0)
    words = {f"word{i}": i for i in range(60)}
    model = fitted(rows, 6, distance_metric="cosine")
    shoal.report(model, rows, path, vocabulary=words, title="Texts")


def one_cluster(path: Path) -> None:
    rows = make_rows(50, 1)
    shoal.report(fitted(rows, 1), rows, path, title="One")


#: What makes a report, its plots, and what must be seen of it.
REPORTS = {
    cities: (["map", "sizes", "distances", "silhouettes", "loss"], ["km", "around", "°", "Paris"]),
    pixels: (["map", "sizes", "distances"], ["1 by 1, RGB", "red", "green", "No record"]),
    patches: (["map", "sizes"], ["4 by 4, gray", "Nearest rows", "digit"]),
    customers: (["map", "loss"], ["income", "C1", "1, with values that are missing", "step"]),
    texts: (["map", "silhouettes"], ["Top terms", "word", "cosine"]),
    one_cluster: (["map", "sizes"], ["Cluster 0", "50"]),
}


@pytest.mark.parametrize("make", REPORTS, ids=lambda make: make.__name__)
def test_report_is_drawn_without_a_complaint(make: Any, page: Page, tmp_path: Path) -> None:
    plots, words = REPORTS[make]
    path = tmp_path / "report.html"
    make(path)
    for width, dark in ((1300, False), (390, True)):
        page.open(path, width, dark)
        assert page.complaints() == []
        assert [one for one in page.requests() if not one.startswith(("file:", "data:"))] == []
        for plot in plots:
            assert page.colors(plot) > 3, f"plot {plot} is blank"
        seen = page.text()
        missing = [word for word in words if word not in seen and word != "Paris"]
        assert not missing, seen
        assert page.run("return document.documentElement.scrollWidth - innerWidth;") <= 0
        theme = page.run("return document.documentElement.dataset.theme;")
        assert theme == ("dark" if dark else "light")


def test_names_are_text_never_markup(page: Page, tmp_path: Path) -> None:
    rows = make_rows(90, 3, 3, spread=30)
    table = {f"{name}{i}": rows[:, i] for i, name in enumerate(HOSTILE)}
    names = [HOSTILE[i % 3] + str(i) for i in range(90)]
    path = tmp_path / "report.html"
    shoal.report(
        fitted(table, 3), table, path, metadata={**table, HOSTILE[1]: names}, title=HOSTILE[0]
    )
    page.open(path)
    assert page.driver.title == HOSTILE[0]
    assert page.complaints() == []
    seen = page.text()
    for name in HOSTILE:
        assert name.strip(" \u2028") in seen
    markup = "return deep(document).filter((one) => one.matches('img[src=x], b')).length;"
    assert page.run(markup) == 0
    # ... and where the mouse rests on a center of the map.
    x, y = place_of_center(page, 0)
    page.move(x, y)
    page.wait("deep(document).some((one) => one.matches('.bk-tooltip-row-value'))")
    shown = page.run(
        "return deep(document).filter((one) => one.matches('.bk-tooltip-row-value, .bk-tooltip'))"
        ".map((one) => one.textContent).join(' ');"
    )
    assert any(name.strip(" \u2028")[:12] in shown for name in HOSTILE), shown
    assert page.run(markup) == 0
    assert page.driver.title == HOSTILE[0]


def place_of_center(page: Page, cluster: int) -> list[float]:
    """Where a center is drawn on the map, in pixels of the window."""
    page.run("document.documentElement.style.scrollBehavior = 'auto';")
    page.run("document.getElementById('plot-map').scrollIntoView({block: 'center'});")
    found: list[float] = page.run(
        f"""
        const doc = Bokeh.documents.find((one) => one.get_model_by_name('centers'));
        const view = Bokeh.index.get_one(doc.roots()[0]);
        const data = doc.get_model_by_name('centers').data;
        const box = view.el.getBoundingClientRect();
        return [box.left + view.frame.x_scale.compute(data.x[{cluster}]),
                box.top + view.frame.y_scale.compute(data.y[{cluster}])];
        """
    )
    return found


def test_clusters_are_sorted_filtered_and_opened(page: Page, tmp_path: Path) -> None:
    rows = make_rows(600, 4, 6, spread=9)
    names = [f"row number {i}" for i in range(600)]
    path = tmp_path / "report.html"
    found = shoal.report(fitted(rows, 6), rows, path, metadata=names)
    page.open(path)
    ids = "[...document.querySelectorAll('#table tbody tr')].map((one) => +one.dataset.id)"
    sizes = [
        int(one.replace(",", ""))
        for one in page.run("return [...document.querySelectorAll('#table tbody tr')]"
                            ".map((one) => one.cells[1].textContent);")
    ]  # fmt: skip
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == found.measured["rows"] == 600
    page.run("document.querySelector('th[data-key=id] button').click();")
    assert page.run(f"return {ids};") == [0, 1, 2, 3, 4, 5]
    assert page.run("return document.querySelector('th[aria-sort]').ariaSort;") == "ascending"
    page.run("document.querySelector('th[data-key=id] button').click();")
    assert page.run(f"return {ids};") == [5, 4, 3, 2, 1, 0]
    # Keys: down from the first cluster, and open the second.
    page.run("document.querySelector('#table tbody button').focus();")
    page.press("ArrowDown")
    page.run("document.activeElement.click();")
    assert "Cluster 4" in page.text("#detail")
    assert "row number" in page.text("#detail")
    page.run("document.querySelector('#detail button[aria-label^=Next]').click();")
    assert "Cluster 3" in page.text("#detail")
    page.run(
        "const input = document.getElementById('filter'); input.value = '2';"
        "input.dispatchEvent(new Event('input'));"
    )
    assert 2 in page.run(f"return {ids};")
    assert "of 6 clusters" in page.text("#count")
    # A center of the map opens its cluster.
    for _ in range(20):  # on a busy machine a click may take so long that it is none
        page.click_at(*place_of_center(page, 5))
        if page.run("return document.getElementById('detail').innerText.includes('Cluster 5');"):
            break
    assert "Cluster 5" in page.text("#detail")
    theme = "return document.documentElement.dataset.theme;"
    assert page.run(theme) == "light"
    page.run("document.getElementById('theme').click();")
    assert page.run(theme) == "dark"
    page.wait("document.documentElement.dataset.ready === 'true'")
    assert page.colors("map") > 3
    assert page.complaints() == []


def test_many_clusters_and_rows_make_a_small_page(page: Page, tmp_path: Path) -> None:
    rows = make_rows(30_000, 20, 1000)
    table = {"title": [f"A title of some length, of row {i}" for i in range(30_000)]}
    path = tmp_path / "report.html"
    model = shoal.KMeansClustering(1000, use_mini_batch=False).fit(rows, steps=2)
    shoal.report(model, rows, path, metadata=table)
    assert path.stat().st_size < 5_000_000
    page.open(path)
    assert page.complaints() == []
    assert "1,000 clusters, 100 shown" in page.text("#count")
    page.run("document.getElementById('more').click();")
    assert "600 shown" in page.text("#count")
    assert "5,000 of 30,000 rows" in page.text("#overview")
