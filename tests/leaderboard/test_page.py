"""The page in a real browser, opened from its file."""

from __future__ import annotations

import csv
import io
import shutil

import pytest
from records import METHODS, make_board, make_record

from noisybench.leaderboard.html import board_html
from noisybench.leaderboard.page_data import page_data
from noisybench.leaderboard.standings import Standings
from noisybench.spec import registry

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine (Debian: chromium, chromium-driver)"),
]

SCRIPT_NAME = "<script>document.title='broken'</script></script><!--"
FORMULA_NAME = '=HYPERLINK("https://example.org","x")'
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A board with a gap, a hostile name and a formula. No board takes such names, and the page does not rely on it."""
    from selenium import webdriver

    records = make_board(seeds=2, epochs=40)
    for name, accuracy in ((SCRIPT_NAME, 0.5), (FORMULA_NAME, 0.4)):
        records += [make_record(name, noise_rate=0.2, seed=seed, accuracy=accuracy) for seed in range(2)]
    file = tmp_path_factory.mktemp("board") / "index.html"
    file.write_text(board_html(Standings(registry.benchmark_card("digits-quick"), records)), encoding="utf-8")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    driver.get(file.as_uri())
    yield driver
    driver.quit()


def column(page, name: str) -> list[str]:
    """Texts of the method column, or of another by its heading's id, of the rows now shown."""
    heads = page.execute_script(
        "return [...document.querySelectorAll('#table thead button')].map(b => b.dataset.column)"
    )
    return page.execute_script(
        "return [...document.querySelectorAll('#table tr.line')].map(r => r.children[arguments[0]].innerText)",
        heads.index(name),
    )


def methods(page) -> list[str]:
    return page.execute_script("return [...document.querySelectorAll('#table .who .link')].map(b => b.textContent)")


def click(page, selector: str) -> None:
    page.execute_script("document.querySelector(arguments[0]).click()", selector)


def choose(page, control: str, value: str) -> None:
    page.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('change', {bubbles: true}))",
        control,
        value,
    )


def test_rows_are_sorted_within_their_information_only(page):
    clean = [name for name, (_, _, labels, _, _, _) in METHODS.items() if labels]
    assert set(methods(page)[-2:]) == set(clean)  # rows with clean labels are a group of their own
    click(page, "#table [data-column=method]")
    ascending = methods(page)
    assert ascending[: len(ascending) - 3] == sorted(ascending[: len(ascending) - 3])
    assert ascending[-2:] == ["mlnt", "mslg"]
    click(page, "#table [data-column=method]")
    assert methods(page)[-2:] == ["mslg", "mlnt"]
    header = page.execute_script("return document.querySelector('[data-column=method]').parentElement.ariaSort")
    assert header == "descending"
    click(page, "#table [data-column=mean]")


def test_sorting_by_a_number_puts_missing_last(page):
    click(page, "#table [data-column=mean]")  # sorted by it already: now ascending
    for _ in range(2):
        group = methods(page)[:5]
        assert set(group[-2:]) == {SCRIPT_NAME, FORMULA_NAME}
        values = [float(text.split()[0]) for text in column(page, "mean")[:3]]
        assert values in (sorted(values), sorted(values, reverse=True))
        click(page, "#table [data-column=mean]")
    assert "cells missing" in column(page, "mean")
    assert "missing" in column(page, "cell-2")


def test_filter(page):
    page.execute_script(
        "const f = document.getElementById('filter'); f.value = 'MS'; f.dispatchEvent(new Event('input'))"
    )
    assert methods(page) == ["mslg"]
    runs = page.execute_script("return [...document.querySelectorAll('#runs tbody .link')].map(b => b.textContent)")
    assert set(runs) == {"mslg"}
    page.execute_script(
        "const f = document.getElementById('filter'); f.value = ''; f.dispatchEvent(new Event('input'))"
    )
    assert len(methods(page)) == len(METHODS) + 2


def test_switching_the_selection_rule_changes_numbers(page):
    last = column(page, "mean")
    choose(page, "rule", "test_accuracy_oracle")
    oracle = column(page, "mean")
    ce = methods(page).index("ce")
    assert float(oracle[ce].split()[0]) > float(last[ce].split()[0]) + 1  # ce peaks early
    assert page.execute_script("return !document.getElementById('rule-note').hidden")
    choose(page, "rule", "test_accuracy_last")
    assert column(page, "mean") == last


def test_one_cell_is_a_scope_of_its_own(page):
    choose(page, "rate", "20 %")
    assert "50.00 ± 0.00" in column(page, "mean")[methods(page).index(SCRIPT_NAME)]
    choose(page, "rate", "")


def test_run_detail_opens_by_keyboard_and_closes(page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    button = page.find_element(By.CSS_SELECTOR, "#runs tbody .link")
    button.send_keys(Keys.ENTER)
    detail = page.find_element(By.ID, "detail")
    text = detail.text
    assert detail.is_displayed()
    for part in ("Configuration", "optimizer.lr", "Fingerprints", button.get_attribute("data-run"), "last epoch"):
        assert part in text
    assert "[object" not in text
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not detail.is_displayed()
    assert page.switch_to.active_element == button


def test_a_methods_runs_are_listed_and_open(page):
    click(page, "#table .who .link")
    assert page.execute_script("return document.querySelectorAll('tr.runs-of button.run').length") == 6
    click(page, "tr.runs-of button.run")
    assert page.execute_script("return document.getElementById('detail').open")
    click(page, "#close-detail")


def test_hostile_names_are_text(page):
    assert SCRIPT_NAME in methods(page)
    assert FORMULA_NAME in methods(page)
    assert page.title == "Digits, quick"
    assert page.execute_script("return document.querySelectorAll('script').length") == 2
    assert page.execute_script("return document.querySelectorAll('td a, td script').length") == 0


def test_plots_are_drawn(page):
    for figure in ("rates", "cost", "curves", "labels", "ranks"):
        marks = page.execute_script(f"return document.querySelectorAll('#plot-{figure} svg path').length")
        assert marks > 0, figure


def test_every_panel_of_the_data_can_be_chosen_and_is_drawn(page):
    data = page_data(Standings(registry.benchmark_card("digits-quick"), make_board(seeds=1, epochs=40)))
    options = page.execute_script(
        "return [...document.querySelectorAll('#plot-curves select')[1].options].map(o => [o.value, o.textContent])"
    )
    assert options[0] == ["0", "train accuracy on given labels, %"] and len(options) == len(data["plots"]["panels"])
    assert options[-1][1] == "train accuracy on given labels − test accuracy, points"
    shown = "return document.querySelectorAll('#plot-curves .panels p')[1].textContent"
    assert page.execute_script(shown) == "wrong labels memorised, %"
    for value, label in options:
        page.execute_script(
            "const s = document.querySelectorAll('#plot-curves select')[1]; s.value = arguments[0];"
            "s.dispatchEvent(new Event('change'))",
            value,
        )
        assert page.execute_script(shown) == label
        assert page.execute_script(
            "return document.querySelectorAll('#plot-curves svg')[1].querySelectorAll('path').length"
        )


def test_a_runs_metrics_and_curves_are_named_by_the_data(page):
    row = methods(page).index("mslg")
    page.execute_script("document.querySelectorAll('#table .who .link')[arguments[0]].click()", row)
    of_row = "document.querySelectorAll('#table tr.line')[arguments[0]].nextElementSibling"
    page.execute_script(f"{of_row}.querySelector('button.run').click()", row)
    detail = page.execute_script("return document.getElementById('detail').innerText")
    for part in (
        "labels right as given",
        "wrong labels found, AUROC",
        "wrong labels memorised",
        "best noisy validation",
    ):
        assert part in detail
    click(page, "#close-detail")
    page.execute_script("document.querySelectorAll('#table .who .link')[arguments[0]].click()", row)
    heads = page.execute_script("return [...document.querySelectorAll('#runs thead button')].map(b => b.textContent)")
    assert "Labels right\nas estimated" in heads


def test_columns_can_be_taken_away(page):
    before = page.execute_script("return document.querySelectorAll('#table thead th').length")
    click(page, "[data-toggle=cells]")
    assert page.execute_script("return document.querySelectorAll('#table thead th').length") == before - 3
    click(page, "[data-toggle=cells]")


def test_themes_differ_and_nothing_overflows_a_phone(page):
    seen = set()
    for _ in range(3):
        click(page, "#theme")
        seen.add(page.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(seen) == 2
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_console_stays_empty(page):
    """Runs after the others: whatever they did, no error, no warning, no blocked request."""
    assert page.get_log("browser") == []


def test_rows_and_runs_have_addresses_and_runs_their_command(page):
    page.execute_script("location.hash = '#row-mslg'")
    wait_until(page, "return !!document.querySelector('#row-mslg + tr.runs-of')")
    links = page.execute_script(
        "return [...document.querySelectorAll('#table .permalink')].map(b => b.dataset.address)"
    )
    assert len(set(links)) == len(links) == len(methods(page)) and "row-mslg" in links
    run = page.execute_script("return document.querySelector('#runs .permalink').textContent")
    page.execute_script("location.hash = '#run-' + arguments[0]", run)
    wait_until(page, "return document.getElementById('detail').open")
    command = page.execute_script("return document.querySelector('#detail .command').textContent")
    assert command == f"noisybench rerun leaderboards/digits-quick/runs/{run}.json"
    click(page, "#close-detail")
    page.execute_script("history.replaceState(null, '', location.pathname)")


def test_runs_are_downloaded_as_csv(page):
    page.execute_script(
        "window.saved = null; const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; }); return make(blob); };"
    )
    click(page, "#csv")
    wait_until(page, "return window.saved !== null")
    lines = list(csv.DictReader(io.StringIO(page.execute_script("return window.saved"))))
    assert len(lines) == page.execute_script(
        "return JSON.parse(document.getElementById('data').textContent).runs.length"
    )
    assert {line["method"] for line in lines} >= {"ce", "mslg", SCRIPT_NAME, "'" + FORMULA_NAME}
    half = [line for line in lines if line["method"] == SCRIPT_NAME]
    assert [line["test_accuracy_last"] for line in half] == ["0.5", "0.5"]
    assert "leaderboard add RUN" in page.execute_script("return document.getElementById('submit-command').textContent")


def wait_until(page, script: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page, 60).until(lambda driver: driver.execute_script(script))
