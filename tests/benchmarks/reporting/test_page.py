"""The page: what it says, that it is safe and complete, and that it works in a real browser."""

import json
import re
from html.parser import HTMLParser
from itertools import combinations, pairwise

import msgspec
import pytest
from browser import CHROMIUM, Browser
from makers import COMMIT, ENVIRONMENT, few_shot, general, plausible_few_shot, plausible_general, suite

from benchmarks.reporting.charts import POINTS
from benchmarks.reporting.claims import compare, judge
from benchmarks.reporting.crossed.decisions import Verdict
from benchmarks.reporting.groups import choose, groups_of
from benchmarks.reporting.kinds import make_plots
from benchmarks.reporting.layout import Scale, cards_of, scales_of
from benchmarks.reporting.provenance import provenance
from benchmarks.reporting.read import rows_of
from benchmarks.reporting.render_html import to_html
from benchmarks.reporting.wording import ends, said
from fewshot.registry import Plugin

VOID = {"meta", "link", "input", "br", "hr", "img"}
EVIL = '</script><img src=x onerror="alert(1)"><b>"bold\'&'


class Page(HTMLParser):
    """Elements and text of a page; refuses tags that do not close what was opened."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self._open = [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open):
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def words(self):
        return " ".join(" ".join(self.text).split())


def rendered(records):
    rows = rows_of(records)
    comparisons = compare(rows)
    choice = choose(groups_of(rows), comparisons)
    return to_html(choice.groups, comparisons, judge(rows), make_plots(choice))


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL).group(1))


@pytest.fixture(scope="module")
def records():
    return suite(seeds=2)


@pytest.fixture(scope="module")
def text(records):
    return rendered(records)


def test_it_parses_and_fetches_nothing(text):
    page = Page(text)
    for _, attributes in page.elements:
        assert "src" not in attributes
        assert re.match(r"#[\w-]+$", attributes.get("href", "#x"))
    assert not page.all("link")
    styles = re.search(r"<style>(.*?)</style>", text, re.DOTALL).group(1)
    assert "url(" not in styles
    assert "@import" not in styles
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert len(text) < 6.5e6


def test_every_target_of_a_link_exists_once(text):
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for attributes in page.all("a")} <= set(ids)
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids


def test_headings_captions_and_scopes(text):
    page = Page(text)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(th.get("scope") for th in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"


def test_numbers_are_those_of_the_rows(records, text):
    rows, words = rows_of(records), Page(text).words()
    for row in rows:
        assert f"{row.analysis.mean:.2f} ± {row.analysis.half_width():.2f}" in words
    for comparison in compare(rows):
        shown = f"{comparison.mean:+.2f} {ends(comparison.low, comparison.high, 'accuracy')}".replace("-", "−")
        assert shown in words
    assert "1 run failed" in words
    assert "(1 failed; at worst" in words
    assert "2 diverged; at worst" in words


def test_verdicts_come_first_and_say_what_was_found(records, text):
    rows = rows_of(records)
    judgements = judge(rows)
    page = Page(text)
    words = page.words()
    assert [section["id"] for section in page.all("section")] == ["verdicts", "results", "charts", "runs"]
    for judgement in judgements:
        assert judgement.claim.text in words
    for verdict in Verdict:
        count = sum(judgement.verdict is verdict for judgement in judgements)
        assert (f"{count} {verdict.value} " in words) == bool(count)
    assert sum(len(card.judgements) for card in cards_of(judgements)) == len(judgements)
    assert sum(j.verdict is Verdict.NOT_DECIDED for j in judgements) > 3
    for judgement in judgements:
        assert said(judgement.comparison).missing in words
    assert "Smoothed SIB is better than SIB" in words


def test_scales_are_not_flattened_by_one_wide_interval(records):
    rows = rows_of(records)
    cards = cards_of(judge(rows))
    scale = scales_of(cards)["accuracy"]
    assert scale.place(0) == 50
    assert scale.place(1e9) == 100
    assert scale.place(-1e9) == 0
    assert Scale(2.0).place(1.0) == 75


def test_markup_in_names_is_escaped():
    environment = msgspec.structs.replace(ENVIRONMENT, device=EVIL, commit=EVIL)
    records = [
        plausible_few_shot(dataset=EVIL, environment=environment),
        plausible_few_shot("smooth", dataset=EVIL),
        plausible_general(task=EVIL, steps=20),
        general(optimizer="dm", task=EVIL, steps=20, initializations=5, failed=True, failure=EVIL),
    ]
    text = rendered(records)
    page = Page(text)
    assert not page.all("img")
    assert not page.all("b")
    assert EVIL in [option for option in page.text if "onerror" in option]
    assert text.count("</script>") == text.count("<script")
    data = data_of(text)
    assert EVIL in data["pool"]
    assert any(EVIL in chart["title"] for chart in data["charts"])


def test_provenance_is_complete_and_marks_what_differs(records):
    rows = rows_of(records)
    groups = groups_of(rows)
    found = provenance(groups)
    in_order = [row for group in groups for row in group.rows]
    assert len(found["rows"]) == len(in_order) == len(rows)
    for row, shown in zip(in_order, found["rows"], strict=True):
        facts = {name: found["pool"][place] for name, place in shown["facts"]}
        runs = list(row.records.values())
        assert facts["config SHA-256"] == runs[0].facts.config_sha256
        assert facts["dataset fingerprint"] == runs[0].facts.dataset.fingerprint
        assert [run[0] for run in shown["runs"]] == [record.facts.seed for record in runs]
        assert [run[-1] for run in shown["runs"]] == [record.digest for record in runs]
        assert found["pool"][shown["runs"][0][8]] == COMMIT
        assert found["pool"][shown["config"]["regularizer"]] == row.regularizer
        assert "regularizer" in shown["differs"]
        assert "test.seed" in shown["config"]
        assert "test.seed" not in shown["differs"]


def test_plug_ins_are_named_in_the_provenance():
    plugins = (Plugin("mine.py", sha256="ab" * 32), Plugin("theirs", "1.2"))
    environment = msgspec.structs.replace(ENVIRONMENT, plugins=plugins)
    found = provenance(groups_of(rows_of([few_shot([40, 50], environment=environment)])))
    assert found["pool"][found["rows"][0]["runs"][0][10]] == [f"mine.py (SHA-256 {'ab' * 32})", "theirs 1.2"]


def test_equal_records_give_an_equal_page_in_any_order(records, text):
    assert rendered(records[::-1]) == text


def test_lines_are_thinned(text):
    for chart in data_of(text)["charts"]:
        for panel in chart["panels"]:
            for line in panel["lines"]:
                assert len(line["x"]) <= POINTS + 1
                assert None not in line["y"]


def test_without_curves_there_is_no_plotly():
    text = rendered([])
    assert len(text) < 60_000
    assert "No records" in Page(text).words()


def test_failed_rows_are_shown_as_failures():
    words = Page(rendered([few_shot(failed=True), few_shot((), "smooth", failed=True)])).words()
    assert "2 runs failed" in words
    assert "no test problem has a value of both, 2 runs failed, 0 test runs diverged" in words


@pytest.fixture(scope="module")
def browser(text, tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(text)
    with Browser(folder / "profile") as browser:
        browser.page = folder / "report.html"
        yield browser


CURVES = "#curves-digits-mlp-200-steps"


def load(browser, width=1400, dark=False):
    browser.screen(width, 900, dark)
    browser.open(browser.page)


def show(browser, chart=CURVES):
    browser.run(f"document.querySelector('{chart}').scrollIntoView({{behavior: 'instant'}})")
    browser.wait(f"document.querySelector('{chart} .plot .main-svg')")


def lines(browser, chart=CURVES):
    return browser.run(f"document.querySelector('{chart} .plot').data.filter(t => t.name).map(t => t.name)")


def test_it_loads_without_errors_and_requests(browser):
    load(browser)
    show(browser)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.run("document.querySelectorAll('figure').forEach(f => f.scrollIntoView({behavior: 'instant'}))")
    for chart in browser.run("Array.from(document.querySelectorAll('figure')).map(f => f.id)"):
        show(browser, f"#{chart}")
    assert browser.problems == []
    assert [address for address in browser.requests if not address.startswith(("file:", "data:", "blob:"))] == []


def test_lines_are_toggled_by_mouse_and_keyboard(browser):
    load(browser)
    show(browser)
    everything = lines(browser)
    assert {"simple", "simple + smooth", "adam"} < set(everything)
    button = f'{CURVES} .legend button[data-key="adam"]'
    browser.click(button)
    assert set(lines(browser)) == set(everything) - {"adam"}
    assert browser.run(f"document.querySelector('{button}').getAttribute('aria-pressed')") == "false"
    browser.run(f"document.querySelector('{button}').focus()")
    browser.key("Enter", 13, "\r")
    assert lines(browser) == everything
    assert browser.run("document.activeElement.dataset.key") == "adam"


@pytest.mark.parametrize("width", [1400, 390])
def test_lines_are_named_at_their_ends_and_names_never_meet(browser, width):
    load(browser, width)
    show(browser)
    boxes = (
        f"Array.from(document.querySelectorAll('{CURVES} .plot .annotation-text-g')).map(g => [g.textContent, "
        "(r => [r.left, r.top, r.right, r.bottom])(g.querySelector('text').getBoundingClientRect())])"
    )
    named = browser.run(boxes)
    everything = set(lines(browser))
    assert len(named) == len(everything) > 5
    for text, _ in named:
        assert any(line.startswith(text.removesuffix("…")) for line in everything), text
    frame = browser.run(f"(r => [r.left, r.right])(document.querySelector('{CURVES} .plot').getBoundingClientRect())")
    for (_, one), (_, other) in combinations(named, 2):
        apart = one[2] < other[0] or other[2] < one[0] or min(one[3], other[3]) <= max(one[1], other[1]) + 3
        assert apart, "letters have room above and below within their box"
    assert all(frame[0] < left < right <= frame[1] + 1 for _, (left, _, right, _) in named)
    browser.click(f'{CURVES} .legend button[data-key="adam"]')
    assert len(browser.run(boxes)) == len(everything) - 1, "a hidden line has no name"
    browser.click(f'{CURVES} .legend button[data-key="adam"]')


def test_metrics_and_scales_are_switched(browser):
    load(browser)
    show(browser)
    title = f"document.querySelector('{CURVES} .plot').layout.yaxis"
    assert browser.run(f"{title}.type") == "log"
    browser.click(f"{CURVES} .tools .right")
    assert browser.run(f"{title}.type") == "linear"
    browser.click(f"{CURVES} .tools button:nth-child(3)")
    assert browser.run(f"{title}.title.text") == "test accuracy (%)"
    top = browser.run(f"document.querySelector('{CURVES} .plot').data.at(-1).y.at(-1)")
    assert 50 < top <= 100


def test_values_are_shown_under_the_mouse(browser):
    load(browser)
    show(browser)
    browser.run(f"Plotly.Fx.hover(document.querySelector('{CURVES} .plot'), [{{curveNumber: 2, pointNumber: 5}}])")
    shown = f"document.querySelector('{CURVES} .plot .hoverlayer').textContent"
    browser.wait(f"{shown}.includes('[')")
    assert "]" in browser.run(shown)


def test_filters_leave_what_was_asked_for(browser):
    load(browser)
    choose = (
        "(n, v) => { const s = document.querySelector(`[name=${n}]`); s.value = v;"
        " s.dispatchEvent(new Event('change', {bubbles: true})); }"
    )
    browser.run(f"({choose})('method', 'simple')")
    rows = "Array.from(document.querySelectorAll('#results tbody tr'))"
    left = f"{rows}.filter(r => r.offsetParent).map(r => r.dataset.method)"
    assert set(browser.run(left)) == {"simple"}
    assert browser.run("document.getElementById('shown').textContent") == "4 of 20 rows"
    show(browser)
    assert set(lines(browser)) == {"simple", "simple + smooth"}
    browser.run(f"({choose})('dataset', 'digits')")
    assert len(browser.run(left)) == 2
    browser.click("#filters [type=reset]")
    browser.wait("document.getElementById('shown').textContent === ''")
    assert len(browser.run(left)) == 20


def test_tables_are_sorted(browser):
    load(browser)
    table = "Array.from(document.querySelectorAll('#results .block:nth-of-type(4) tbody tr'))"
    original = browser.run(f"{table}.map(r => r.cells[0].dataset.v)")
    values = f"{table}.map(r => Number(r.cells[1].dataset.v))"
    for _ in range(2):
        browser.click("#results .block:nth-of-type(4) thead th:nth-child(2) button")
    numbers = browser.run(values)
    assert numbers == sorted(numbers, reverse=True)
    browser.click("#results .block:nth-of-type(4) thead th:nth-child(2) button")
    assert browser.run(f"{table}.map(r => r.cells[0].dataset.v)") == original


def test_a_row_s_provenance_is_one_click_away(browser):
    load(browser)
    browser.click('#results a[href="#row-1"]')
    browser.wait("document.querySelector('#row-1').open")
    unfolded = browser.run("document.querySelector('#row-1').innerText")
    for word in (COMMIT, "torch 2.13.0", "cpu, 2 threads", "digest", "training.episodes", "5000", "seed"):
        assert word in unfolded
    assert browser.run("document.querySelectorAll('#row-1 tr.differs').length") > 0


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_scrolls_down_only(browser, width):
    load(browser, width)
    for chart in (CURVES, "#differences-accuracy", "#cost-glyphs-5-way-1-shot"):
        show(browser, chart)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.run("document.documentElement.scrollWidth") == width
    box = "document.querySelector('#results .scroll')"
    assert browser.run(f"{box}.scrollWidth > {box}.clientWidth")


def test_both_themes_reach_the_charts_and_are_readable(browser):
    load(browser, dark=True)
    show(browser)
    ink = f"document.querySelector('{CURVES} .plot').layout.font.color"
    dark = browser.run(ink)
    assert contrast(browser) > 7
    browser.click("#theme")
    assert browser.run("document.documentElement.dataset.theme") == "light"
    assert browser.run(ink) != dark
    assert contrast(browser) > 7
    browser.run("localStorage.clear()")


def contrast(browser):
    """Of body text on its background, as WCAG counts it."""
    style = "getComputedStyle(document.body)"
    ink, paper = (luminance(browser.run(f"{style}.{name}")) for name in ("color", "backgroundColor"))
    return (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)


def luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_markup_in_names_is_text_in_the_browser_too(browser, tmp_path):
    records = [plausible_few_shot(r, s, dataset=EVIL) for r in ("none", "smooth") for s in (0, 1)]
    records += [
        plausible_general("<img src=x>", r, s, task="<b>task</b>_mlp", steps=20)
        for r in ("none", "<i>")
        for s in (0, 1)
    ]
    page = tmp_path / "evil.html"
    page.write_text(rendered(records))
    browser.screen(1400)
    browser.open(page)
    for chart in browser.run("Array.from(document.querySelectorAll('figure')).map(f => f.id)"):
        show(browser, f"#{chart}")
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.wait("document.querySelector('details.row .body table')")
    assert browser.run("document.querySelectorAll('img, b, main i').length") == 0
    assert "onerror" in browser.run("document.querySelector('#row-0').innerText")
    assert browser.problems == []


def test_it_prints_every_chart(browser, tmp_path):
    load(browser)
    browser.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 100_000
    drawn = "Array.from(document.querySelectorAll('figure .plot')).every(p => p.querySelector('.main-svg'))"
    assert browser.run(drawn)
    assert browser.problems == []
