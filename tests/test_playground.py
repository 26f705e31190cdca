"""The playground in a real browser: its arithmetic, its controls, its widget."""

import base64
import functools
import inspect
import itertools
import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from http.server import ThreadingHTTPServer

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import CHROMIUM, FLAGS, _Quiet
from playwright.sync_api import sync_playwright

from adamtut import plots
from adamtut.playground import bundle, translate
from adamtut.rules import rule
from adamtut.surfaces import Surface, quadratic
from adamtut.walk import walk
from tools import tidy

RULES = bundle.offered_rules()
SURFACES = bundle.offered_surfaces()
PAGE = """<!doctype html><html lang="en"{html}><head><title>Playground</title>
<meta name="viewport" content="width=device-width"></head><body><main>
<h1>Playground</h1>
<adam-playground id="playground"{attributes}><p>no script</p></adam-playground>
{body}</main><script defer src="playground.js"></script></body></html>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium; see browser.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("playground")
    (folder / "playground.js").write_text(bundle.script(), encoding="utf-8")
    (folder / "widget.js").write_text(bundle.module(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def site(folder):
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def play(browser, folder, site):
    """A function that opens a page with one playground, which must raise no error."""
    contexts, errors = [], []

    def open_page(
        preset=None, *, width=1300, theme=None, fragment="", at=None, body="", **context
    ):
        attributes = f" preset='{json.dumps(preset)}'" if preset else ""
        html = f' data-theme="{theme}"' if theme else ""
        text = PAGE.format(html=html, attributes=attributes, body=body)
        (folder / "page.html").write_text(text, encoding="utf-8")
        contexts.append(
            browser.new_context(viewport={"width": width, "height": 900}, **context)
        )
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{at or site}/page.html{fragment}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def get(page, what):
    """A property of the element, such as `setting` or `step`."""
    return page.evaluate(f"document.querySelector('adam-playground').{what}")


def rest(page):
    """Wait until what changed is drawn."""
    page.evaluate("() => new Promise((f) => requestAnimationFrame(() => f()))")


# The arithmetic

# Sets the element to each setting; all rows of all runs as one string of doubles.
READ = """(settings) => {
  const element = document.querySelector('adam-playground');
  const rows = [];
  for (const setting of settings) {
    element.setting = setting;
    for (const { x, y, f, ratio } of element.paths) rows.push(x, y, f, ratio);
  }
  const all = new Float64Array(rows.length * rows[0].length);
  rows.forEach((row, i) => all.set(row, i * row.length));
  const bytes = new Uint8Array(all.buffer);
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768) {
    text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  }
  return btoa(text);
}"""


def rows(page, settings):
    """x, y, f and step / lr of every run: shape (runs, 4, steps + 1)."""
    steps = settings[0]["steps"]
    text = page.evaluate(READ, settings)
    return np.frombuffer(base64.b64decode(text)).reshape(-1, 4, steps + 1)


def uncorrected(name):
    """The rule without bias correction, made by an edit of its text."""
    source = inspect.getsource(RULES[name])
    source = source[source.index("def ") :]
    hat = re.compile(r"(_hat = .*?) / \(1 - beta\d?\*\*t\)")
    while hat.search(source):
        source = hat.sub(r"\1", source)
    space = dict(RULES[name].__globals__)
    exec(source, space)
    return rule(**RULES[name].starts)(space[name])


def python_path(setting, run):
    """The path of one run of a complete setting, by `adamtut.walk`."""
    hyper = {k: v for k, v in run.items() if k not in ("rule", "correction")}
    name = run["rule"]
    chosen = name if run.get("correction", True) else uncorrected(name)
    grad = SURFACES[setting["surface"]].grad
    return walk(chosen, grad, np.array(setting["start"]), setting["steps"], **hyper)


STEPS = 100
LRS = [1e-3, 0.03, 1.0]
STARTS = [None, (0.7, -0.3)]  # None: the surface's own


def grid(name):
    """Settings of one rule: every surface, start and lr, and of these each with its
    defaults, other decay rates, another eps, no bias correction."""
    defaults = RULES[name].defaults
    decays = [k for k in defaults if bundle._range(RULES[name], k)["most"] == 1]
    changes = [{}]
    for rate in (0.5, 0.01):
        changes += [dict.fromkeys(decays, rate)] if decays else []
    changes += [{"eps": 1e-2}] if "eps" in defaults else []
    changes += [{"correction": False}] if translate.has_correction(name) else []
    for surface, start, lr, change in itertools.product(SURFACES, STARTS, LRS, changes):
        start = list(start or SURFACES[surface].start)
        run = {"rule": name, **defaults, "lr": lr, **change}
        yield {"surface": surface, "start": start, "steps": STEPS, "runs": [run]}


def last_bits(grad, seed):
    """`grad`, taken a last bit beside p."""
    draw = np.random.default_rng(seed).choice
    return lambda p: grad(p * (1 + draw([-1, 1], np.shape(p)) * 2.0**-52))


def compare(found, settings):
    """The largest difference of the browser's paths from NumPy's, over their size so
    far, and the share of the points that were compared.

    A chaotic path has no value to compare: it is compared until a last bit in the
    points of the gradients moves NumPy's own path by 1e-12 of its size. None is
    compared beyond 1e100.
    """
    groups = {}
    for i, setting in enumerate(settings):
        run = setting["runs"][0]
        key = setting["surface"], run["rule"], run.get("correction", True)
        groups.setdefault(key, []).append(i)
    worst, compared, finite = 0.0, 0, 0
    for (surface, name, correction), members in groups.items():
        runs = [settings[i]["runs"][0] for i in members]
        hyper = {
            k: np.array([run[k] for run in runs])[:, None] for k in RULES[name].defaults
        }
        chosen = name if correction else uncorrected(name)
        start = np.array([settings[i]["start"] for i in members])
        steps, grad = settings[0]["steps"], SURFACES[surface].grad
        path, *others = (
            walk(chosen, g, start, steps, **hyper)
            for g in (grad, last_bits(grad, 0), last_bits(grad, 1))
        )
        size = np.maximum.accumulate(np.abs(path).max(axis=-1), axis=0)
        with np.errstate(invalid="ignore"):  # of what diverged
            moved = np.max([np.abs(x - path).max(axis=-1) for x in others], axis=0)
            error = np.abs(found[members][:, :2].transpose(2, 0, 1) - path).max(axis=-1)
        small = np.logical_and.accumulate(size <= 1e100, axis=0)
        sure = small & np.logical_and.accumulate(moved <= 1e-12 * size, axis=0)
        assert not np.isnan(error[sure]).any()
        ratio = error[sure & (size > 0)] / size[sure & (size > 0)]
        worst = max(worst, ratio.max(initial=0))
        compared, finite = compared + sure.sum(), finite + small.sum()
    return worst, compared / finite


@pytest.fixture(scope="module")
def blank(browser, site, folder):
    """A page whose playground is only computed with."""
    (folder / "blank.html").write_text(PAGE.format(html="", attributes="", body=""))
    page = browser.new_page()
    page.goto(f"{site}/blank.html")
    yield page
    page.close()


@pytest.mark.parametrize("name", RULES)
def test_paths_are_those_of_walk(blank, name):
    settings = list(grid(name))
    found = rows(blank, settings)
    worst, compared = compare(found, settings)
    assert worst <= 1e-9
    assert compared > 0.5, "most settings are chaotic: this would be no test"
    # what stands in the table and the charts, from the browser's own points
    points = found[:, :2].transpose(0, 2, 1)
    f = np.array(
        [SURFACES[s["surface"]].f(x) for s, x in zip(settings, points, strict=True)]
    )
    small = np.abs(f) < 1e100
    np.testing.assert_allclose(found[:, 2][small], f[small], rtol=1e-9, atol=1e-12)
    lr = np.array([s["runs"][0]["lr"] for s in settings])[:, None]
    with np.errstate(invalid="ignore"):
        ratio = np.abs(np.diff(points, axis=1)).max(axis=-1) / lr
    small = ratio < 1e100
    np.testing.assert_allclose(found[:, 3, 1:][small], ratio[small], rtol=1e-9)


def test_a_wrong_rule_is_seen(browser):
    """The comparison above fails for an Adam with eps in another place."""
    right = "(Math.sqrt(v_hat) + eps)"
    script = bundle.script()
    assert right in script
    page = browser.new_page()
    page.set_content(
        "<!doctype html><adam-playground></adam-playground><script>"
        f"{script.replace(right, 'Math.sqrt(v_hat + eps)')}</script>"
    )
    settings = [x for x in grid("adam") if x["surface"] == "bowl"]
    worst, _ = compare(rows(page, settings), settings)
    page.close()
    assert worst > 1e-6


def everything(p, g, m, n, t, *, lr=0.1, rho=0.9):
    """A rule of all that a rule may contain."""
    m = rho * m + (1 - rho) * abs(g)
    side = where((t > 3) & ~(g <= 0), sign(g), -(g**3))  # noqa: F821
    far = maximum(m, 0.5) ** 0.5 + minimum(n, t) * exp(-m)  # noqa: F821
    n = n + (g != 0) * log(2 + m)  # noqa: F821
    return p - lr * side * far, m, n


def test_all_operations_are_those_of_numpy(blank):
    text = translate.rule_js(rule(everything))
    everything.__globals__.update(
        {
            name: getattr(np, name)
            for name in "where sign maximum minimum exp log".split()
        }
    )
    script = """([text, gradients]) => {
      const square = (x) => x * x;
      const step = eval(text);
      let [p, state] = [1.5, [0, 0]];
      return [p, ...gradients.map((g, i) => {
        [p, ...state] = step(p, g, state, i + 1, { lr: 0.1, rho: 0.9 });
        return p;
      })];
    }"""
    gradients = [*np.random.default_rng(0).normal(size=18), 0.0, 1e3]
    expected = walk(everything, np.array(gradients), 1.5)
    np.testing.assert_allclose(blank.evaluate(script, [text, gradients]), expected)


def loops(p, g, t, *, lr=0.1):
    for _ in range(2):
        p = p - lr * g
    return p


def unknown(p, g, t, *, lr=0.1):
    p = p - lr * np.tanh(g)
    return p


def _tanh(p):
    return np.tanh(p)


def reserved(p, g, t, *, lr=0.1):
    new = p - lr * g
    return new


@pytest.mark.parametrize(
    ("wrong", "word"), [(loops, "for _"), (unknown, "np.tanh"), (reserved, "'new'")]
)
def test_what_cannot_be_translated_is_named(wrong, word):
    with pytest.raises(ValueError, match=rf"rule {wrong.__name__} .*{word}"):
        translate.rule_js(rule(wrong))


def test_other_units_and_dimensions_are_refused():
    assert all(getattr(x, "unit", "number") == "number" for x in RULES.values())
    with pytest.raises(ValueError, match="dimension 3; allowed: 2"):
        translate.surface_js(quadratic(1, 2, 3))
    line = Surface("line", _tanh, _tanh, np.empty((0, 2)), None, (1, 1))
    with pytest.raises(ValueError, match="f of surface line"):
        translate.surface_js(line)


# The setting: presets, the link, what is refused

PRESET = {
    "surface": "turned ravine",
    "start": [-1.25, 1e-06],
    "steps": 60,
    "runs": [{"rule": "adam", "lr": 0.125, "correction": False}, {"rule": "sgd"}],
}


def complete(preset):
    """What the element makes of PRESET."""
    runs = []
    for run in preset["runs"]:
        corrects = translate.has_correction(run["rule"])
        extra = {"correction": True} if corrects else {}
        runs.append(RULES[run["rule"]].defaults | extra | run)
    return preset | {"runs": runs}


def test_preset(play):
    page = play(PRESET)
    assert get(page, "setting") == complete(PRESET)
    page.evaluate(
        """document.querySelector('adam-playground')
        .setAttribute('preset', '{"surface": "beale"}')"""
    )
    assert get(page, "setting")["surface"] == "beale"
    assert get(page, "setting")["start"] == SURFACES["beale"].start.tolist()


def test_link_carries_the_setting(play):
    page = play(PRESET, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    page.get_by_role("button", name="Link copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url == get(page, "link")
    other = play({"surface": "bowl"}, fragment=link[link.index("#") :])
    assert get(other, "setting") == complete(PRESET)
    # a link followed later, and the way back
    page.evaluate(f"location.hash = '#playground={json.dumps({'steps': 7})}'")
    page.wait_for_function("document.querySelector('adam-playground').step === 7")
    page.go_back()
    page.wait_for_function("document.querySelector('adam-playground').step === 60")
    page.get_by_role("button", name="Reset").click()
    assert get(page, "setting") == complete(PRESET)


def test_works_from_a_file(play, folder):
    page = play(PRESET, at=folder.as_uri())
    page.get_by_role("button", name="Copy link").click()
    page.get_by_role("button", name="link").wait_for()
    assert page.url == get(page, "link")
    other = play(at=folder.as_uri(), fragment=page.url[page.url.index("#") :])
    assert get(other, "setting") == complete(PRESET)


WRONG = [
    ({"surface": "moon"}, 'surface is "moon"; allowed: bowl, ravine'),
    ({"surface": "__proto__"}, "surface is"),
    ({"start": [1, None]}, "start is [1,null]; allowed: two numbers"),
    ({"steps": 1001}, "steps is 1001; allowed: 1 to 1000"),
    ({"runs": []}, "runs is []; allowed: a list of 1 to 4"),
    ({"runs": [{"rule": "sgd"}] * 5}, "a list of 1 to 4"),
    ({"runs": [{"rule": "toString"}]}, 'rule is "toString"; allowed: sgd'),
    (
        {"runs": [{"rule": "sgd", "lr": -1}]},
        "lr of sgd is -1; allowed: 0 <= lr < inf",
    ),
    (
        {"runs": [{"rule": "adam", "beta1": 1}]},
        "beta1 of adam is 1; allowed: 0 <= ",
    ),
    ({"runs": [{"rule": "adam", "lr": "<b>"}]}, 'lr of adam is "<b>"'),
    ({"runs": [{"rule": "sgd", "correction": True}]}, 'a run of sgd is "correction"'),
    ({"runs": [{"rule": "adam", "correction": 1}]}, "correction is 1; allowed: true"),
    ({"speed": 3}, 'a key of the setting is "speed"; allowed: surface'),
]


def test_wrong_links_are_refused_by_name(play):
    page = play(PRESET)
    for wrong, words in WRONG:
        page.evaluate(
            f"location.hash = {json.dumps('#playground=' + json.dumps(wrong))}"
        )
        alert = page.get_by_role("alert").filter(has_text=words)
        alert.wait_for(timeout=3000)
        assert get(page, "setting") == complete(PRESET)


# What the reader does


def row(page, i):
    return page.locator("tbody tr").nth(i).locator("th, td").all_text_contents()


def test_drag_and_tap(play):
    page = play({"surface": "bowl", "runs": [{"rule": "sgd", "lr": 0.1}]})
    ring = page.get_by_role("button", name="Start at x 1.5")
    box = ring.bounding_box()
    page.mouse.move(box["x"] + 16, box["y"] + 16)
    page.mouse.down()
    area = page.locator(".map").bounding_box()
    for x, y in [(0.5, 0.5), (0.25, 0.75)]:
        page.mouse.move(area["x"] + x * area["width"], area["y"] + y * area["height"])
    # the window is -2 ... 2; it is there before the button is released
    np.testing.assert_allclose(get(page, "setting.start"), [-1, -1], atol=0.01)
    page.mouse.up()
    rest(page)
    x = get(page, "setting.start[0]")
    assert float(row(page, 0)[1].replace("−", "-")) == pytest.approx(
        x * 0.9**100, rel=1e-2
    )
    page.mouse.click(area["x"] + 0.75 * area["width"], area["y"] + 0.5 * area["height"])
    np.testing.assert_allclose(get(page, "setting.start"), [1, 0], atol=0.01)
    rest(page)
    box = page.locator(".start").bounding_box()
    page.mouse.move(box["x"] + 8, box["y"] + 8)  # no button is down: nothing follows
    np.testing.assert_allclose(get(page, "setting.start"), [1, 0], atol=0.01)


def test_touch(play):
    page = play({"surface": "bowl"}, width=390, has_touch=True, is_mobile=True)
    area = page.locator(".map").bounding_box()
    page.touchscreen.tap(
        area["x"] + 0.25 * area["width"], area["y"] + 0.25 * area["height"]
    )
    np.testing.assert_allclose(get(page, "setting.start"), [-1, 1], atol=0.02)
    rest(page)  # the ring goes there with the next frame
    ring = page.locator(".start").bounding_box()
    touch = page.context.new_cdp_session(page)
    points = [(ring["x"] + 16, ring["y"] + 16), (area["x"] + 0.75 * area["width"], 100)]
    for kind, (x, y) in zip(("touchStart", "touchMove"), points, strict=True):
        touch.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y}]},
        )
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert get(page, "setting.start")[0] == pytest.approx(1, abs=0.05)
    assert page.evaluate("window.scrollY") == 0, "the drag scrolled the page"


def test_keys(play):
    page = play({"surface": "bowl", "start": [1, 1]})
    page.locator(".start").focus()
    for key in ("ArrowRight", "ArrowUp", "ArrowUp", "Shift+ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    assert get(page, "setting.start") == [0.64, 1.04]
    for _ in range(12):
        page.keyboard.press("Shift+ArrowLeft")
    assert get(page, "setting.start") == [-2, 1.04], "it left the map"
    rest(page)
    assert "Start at x −2, y 1.04" in page.locator(".start").get_attribute("aria-label")
    page.keyboard.press("Home")
    assert get(page, "setting.start") == SURFACES["bowl"].start.tolist()
    assert page.evaluate("window.scrollY") == 0, "the keys scrolled the page"


def test_every_control_is_reached_by_tab(play):
    page = play({"runs": [{"rule": "adam"}]})
    labels = []
    for _ in range(22):
        page.keyboard.press("Tab")
        labels.append(
            page.evaluate(
                """() => {
          const x = document.activeElement.shadowRoot?.activeElement;
          return x?.getAttribute('aria-label') ?? x?.closest('label')?.textContent
            ?? x?.textContent;
        }"""
            )
        )
    text = " | ".join(map(str, labels))
    for wanted in (
        "Start at x 1.5",
        "Play",
        "Step",
        "Surface",
        "Start x",
        "Steps",
        "Copy link",
        "Rule 1",
        "lr",
        "beta2 of rule 1",
        "bias correction",
        "Best lr",
        "Add a rule",
    ):
        assert wanted in text


def test_sliders_and_fields(play):
    page = play({"runs": [{"rule": "adam", "lr": 0.1}]})
    slider = page.get_by_role("slider", name="lr of rule 1")
    slider.fill("-2")  # the logarithm
    assert get(page, "setting.runs[0].lr") == 0.01
    page.get_by_role("slider", name="beta2 of rule 1").fill("2")  # of 1 - beta2
    assert get(page, "setting.runs[0].beta2") == 0.99
    page.get_by_role("slider", name="beta1 of rule 1").fill("0")
    assert get(page, "setting.runs[0].beta1") == 0
    memory = page.get_by_role("textbox", name="beta2", exact=True)
    memory.fill("0.9999")
    memory.press("Enter")
    rest(page)
    position = page.get_by_role("slider", name="beta2 of rule 1").input_value()
    assert float(position) == pytest.approx(4, abs=0.02)
    page.get_by_role("slider", name="eps of rule 1").fill("-4")
    assert get(page, "setting.runs[0].eps") == 1e-4
    field = page.get_by_role("textbox", name="lr", exact=True)
    rest(page)
    assert field.input_value() == "0.01"
    field.fill("2.5e-3")
    field.press("Enter")
    assert get(page, "setting.runs[0].lr") == 0.0025
    rest(page)
    assert float(slider.input_value()) == pytest.approx(np.log10(0.0025), abs=0.02)
    for wrong in ("fast", "", "-1"):
        field.fill(wrong)
        field.press("Enter")
        page.get_by_role("alert").filter(has_text="lr of adam").wait_for()
        assert field.get_attribute("aria-invalid") == "true"
        assert get(page, "setting.runs[0].lr") == 0.0025
    field.fill("0.5")
    field.press("Enter")
    assert page.get_by_role("alert").count() == 0
    assert get(page, "setting.runs[0].lr") == 0.5


def test_up_to_four_rules(play):
    page = play({"surface": "beale", "runs": [{"rule": "adam", "lr": 0.1}]})
    add = page.get_by_role("button", name="Add a rule")
    assert page.get_by_role("button", name="Remove rule 1").is_disabled()
    for _ in range(3):
        add.click()
        rest(page)
    assert add.is_disabled()
    assert len(get(page, "setting.runs")) == 4
    for i, name in enumerate(("momentum", "adam", "adam")):
        choice = page.get_by_role("combobox", name=f"Rule {i + 2}")
        choice.focus()
        choice.select_option(name)
        rest(page)
    focused = "document.activeElement.shadowRoot.activeElement.ariaLabel"
    assert page.evaluate(focused) == "Rule 4"
    assert [x["rule"] for x in get(page, "setting.runs")] == [
        "adam",
        "momentum",
        "adam",
        "adam",
    ]
    page.get_by_role("checkbox", name="bias correction").last.uncheck()
    assert [x.get("correction") for x in get(page, "setting.runs")] == [
        True,
        None,
        True,
        False,
    ]
    rest(page)
    assert row(page, 3)[0] == "4 adam, not corrected"
    page.get_by_role("button", name="Remove rule 2").click()
    assert [x["rule"] for x in get(page, "setting.runs")] == ["adam"] * 3


def test_best_lr_is_numpys(play):
    page = play({"surface": "ravine", "runs": [{"rule": "momentum", "lr": 5}]})
    page.get_by_role("button", name="Best lr").click()
    rates = [float(f"{10 ** (i / 10):.2g}") for i in range(-50, 11)]
    ravine = SURFACES["ravine"]
    with np.errstate(all="ignore"):
        ends = [
            ravine.f(walk("momentum", ravine.grad, ravine.start, 100, lr=lr)[-1])
            for lr in rates
        ]
    assert get(page, "setting.runs[0].lr") == rates[np.nanargmin(ends)]


def test_table_and_what_is_read_aloud(play):
    page = play(PRESET)
    scrub = page.get_by_role("slider", name="Step")
    page.evaluate(
        """() => {
      window.heard = 0;
      const status = document.querySelector('adam-playground').shadowRoot
        .querySelector('[role=status]');
      new MutationObserver(() => { window.heard += 1; })
        .observe(status, { childList: true });
    }"""
    )
    for step in range(31):
        scrub.fill(str(step))
    rest(page)
    setting = complete(PRESET)
    for i, run in enumerate(setting["runs"]):
        path = python_path(setting, run)
        f = SURFACES["turned ravine"].f(path[30])
        ratio = np.abs(path[30] - path[29]).max() / run["lr"]
        name, *numbers = row(page, i)
        assert name == f"{i + 1} {['adam, not corrected', 'sgd'][i]}"
        shown = [float(x.replace("−", "-")) for x in numbers]
        np.testing.assert_allclose(shown, [*path[30], f, ratio], rtol=5.1e-3)
    status = page.get_by_role("status")
    status.filter(has_text="After step 30: adam, not corrected: f").wait_for()
    assert page.evaluate("window.heard") == 1, "it speaks while the reader moves"


def test_a_run_that_diverges_is_called_so(play):
    runs = [{"rule": "sgd", "lr": 0.03}, {"rule": "momentum", "lr": 5}]
    page = play({"surface": "ravine", "steps": 1000, "runs": runs})
    rest(page)
    assert [row(page, i)[0] for i in (0, 1)] == ["1 sgd", "2 momentum, diverged"]
    page.get_by_role("status").filter(has_text="momentum: diverged.").wait_for()
    # and does not press the other flat: its line still fills the chart
    drawn = """() => {
      const canvas = document.querySelector('adam-playground').shadowRoot
        .querySelectorAll('figure canvas')[1];
      const { width, height } = canvas;
      const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
      const lines = new Set();
      for (let i = 0; i < data.length; i += 4) {
        if (data[i] === 110 && data[i + 1] === 110 && data[i + 3] === 255) {
          lines.add(Math.floor(i / 4 / width));
        }
      }
      return lines.size / height;
    }"""
    assert plots.LOOK["sgd"][0] == "#6E6E6E"
    assert page.evaluate(drawn) > 0.5


def test_play_pause_scrub(play):
    page = play({"steps": 60})
    assert get(page, "step") == 60, "the whole path is there at first"
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('adam-playground').step > 5")
    assert get(page, "step") < 60
    page.get_by_role("button", name="Pause").click()
    step = get(page, "step")
    page.wait_for_timeout(150)
    assert get(page, "step") == step
    page.get_by_role("button", name="Play").click()  # goes on
    page.wait_for_timeout(100)
    assert get(page, "step") >= step
    page.wait_for_function("document.querySelector('adam-playground').step === 60")
    assert not get(page, "playing")
    page.get_by_role("slider", name="Step").fill("12")
    assert get(page, "step") == 12


def test_reduced_motion(play):
    page = play({"steps": 60}, reduced_motion="reduce")
    assert page.get_by_role("button", name="Play").count() == 0
    page.get_by_role("slider", name="Step").fill("12")
    page.evaluate("document.querySelector('adam-playground').play()")
    assert (get(page, "playing"), get(page, "step")) == (False, 60)
    page.emulate_media(reduced_motion="no-preference")
    page.get_by_role("button", name="Play").click()
    assert get(page, "playing")
    page.emulate_media(reduced_motion="reduce")
    page.wait_for_function("!document.querySelector('adam-playground').playing")
    assert get(page, "step") == 60


# Its looks


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme_and_colours(play, theme):
    other = {"light": "dark", "dark": "light"}[theme]
    # the page's own theme counts, not the system's
    page = play({"runs": [{"rule": "momentum"}]}, theme=theme, color_scheme=other)
    rest(page)
    color = page.locator("fieldset").evaluate("x => x.style.getPropertyValue('--run')")
    paper = page.locator("adam-playground").evaluate(
        "x => getComputedStyle(x).backgroundColor"
    )
    if theme == "light":
        assert color == plots.LOOK["momentum"][0]
        assert paper == "rgb(255, 255, 255)"
    page.evaluate(f"document.documentElement.dataset.theme = '{other}'")
    page.wait_for_function(
        f"document.querySelector('adam-playground').hasAttribute('dark')"
        f" === {'true' if other == 'dark' else 'false'}"
    )


def test_a_path_is_drawn_in_its_colour(play):
    """Pixels of the map in the colour of the only rule, and none of another's."""
    page = play({"runs": [{"rule": "momentum", "lr": 0.02}]}, theme="light")
    rest(page)
    count = """(color) => {
      const canvas = document.querySelector('adam-playground').shadowRoot
        .querySelectorAll('.map canvas')[1];
      const { data } = canvas.getContext('2d')
        .getImageData(0, 0, canvas.width, canvas.height);
      const wanted = [1, 3, 5].map((k) => parseInt(color.slice(k, k + 2), 16));
      let n = 0;
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] > 250 && wanted.every((v, k) => data[i + k] === v)) {
          n += 1;
        }
      }
      return n;
    }"""
    assert page.evaluate(count, plots.LOOK["momentum"][0]) > 300
    assert page.evaluate(count, plots.LOOK["adam"][0]) == 0


def test_colours_stand_out_in_the_dark():
    style = (bundle.HERE / "element.css").read_text(encoding="utf-8")
    assert f":host([dark]) {{\n  --paper: {bundle.DARK};" in style
    dark = [int(bundle.DARK[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    assert bundle.contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    for name in RULES:
        color = bundle._look(name)["dark"]
        rgb = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        assert bundle.contrast(rgb, dark) >= 4.4  # #rrggbb rounds


@pytest.mark.parametrize("width", [1300, 390])
def test_controls_are_large_enough_and_nothing_overflows(play, width):
    page = play({"runs": [{"rule": "adam"}, {"rule": "rmsprop_centered"}]}, width=width)
    rest(page)
    small = page.evaluate(
        """() => [...document.querySelector('adam-playground').shadowRoot
        .querySelectorAll('button, select, input')]
        .filter((x) => x.checkVisibility())
        .map((x) => [x.outerHTML, x.getBoundingClientRect()])
        .filter(([, box]) => box.width < 24 || box.height < 24).map(([x]) => x)"""
    )
    assert small == []
    wide = "document.documentElement.scrollWidth - window.innerWidth"
    assert page.evaluate(wide) <= 0
    cut = page.evaluate(
        """() => [...document.querySelector('adam-playground').shadowRoot
        .querySelectorAll('*')].filter((x) => x.getBoundingClientRect().right >
          document.querySelector('adam-playground').getBoundingClientRect().right + 1)
        .map((x) => x.outerHTML.slice(0, 80))"""
    )
    assert cut == []


def axe_findings(page):
    found = Axe().run(page).response["violations"]
    return [x["id"] for x in found if x["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe(play, theme):
    page = play(PRESET, theme=theme)
    rest(page)
    page.locator(".start").focus()
    assert axe_findings(page) == []


def test_axe_sees_a_fault(play):
    page = play(body='<input type="range">')
    assert axe_findings(page) == ["label"]


def test_without_script_the_text_inside_is_shown(play):
    page = play(java_script_enabled=False)
    assert page.get_by_text("no script").is_visible()
    assert not play().get_by_text("no script").is_visible()


FRAMES = """() => {
  window.frames_ = { work: [], at: [] };
  const original = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (action) => original((now) => {
    const begin = performance.now();
    action(now);
    window.frames_.work.push(performance.now() - begin);
    window.frames_.at.push(begin);
  });
}"""
FOUR = {
    "surface": "rosenbrock",
    "steps": 500,
    "runs": [
        {"rule": "sgd", "lr": 0.002},
        {"rule": "momentum", "lr": 0.002},
        {"rule": "rmsprop", "lr": 0.01},
        {"rule": "adam", "lr": 0.1},
    ],
}


@pytest.mark.parametrize("kind", ["race", "drag"])
def test_sixty_frames_a_second(play, kind):
    """Four rules, 500 steps each: the script's work in a frame, while the race runs and
    while the start moves with every frame."""
    page = play(FOUR)
    rest(page)
    page.evaluate(FRAMES)
    if kind == "race":
        page.get_by_role("button", name="Play").click()
    else:
        page.evaluate(
            """() => {
          const element = document.querySelector('adam-playground');
          let n = 0;
          const move = () => {
            element.setting = { ...element.setting, start: [-1.2 + 0.01 * n, 1] };
            if (++n < 200) requestAnimationFrame(move);
          };
          move();
        }"""
        )
    page.wait_for_function("window.frames_.work.length >= 120", timeout=20000)
    frames = page.evaluate("window.frames_")
    per_frame = 1 if kind == "race" else 2  # the move and the drawing
    work = np.median(frames["work"][:120]) * per_frame
    if kind == "drag":
        work = np.median(np.add(frames["work"][:120:2], frames["work"][1:120:2]))
    print(
        f"{kind}: median work {work:.2f} ms, frames every "
        f"{np.median(np.diff(frames['at'][:120:per_frame])):.1f} ms"
    )
    assert work < 16


# The page of the book


@pytest.fixture(scope="module")
def chapter():
    """The links of the chapter, and what its cells called `runs` beside each."""
    import matplotlib

    matplotlib.use("agg")
    nb = tidy.read(tidy.CHAPTERS / "playground.ipynb")
    links, runs, space = [], [], {}
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            links += re.findall(
                r'<a href="#playground" data-setting=.*?</a>', cell.source
            )
        elif cell.id != "install":
            space.pop("runs", None)
            exec(cell.source, space)
            if "runs" in space:
                runs.append(space["runs"])
            if cell.id == "figure-race":
                first = space["rates"]
    return links, runs, first


def test_links_of_the_page_are_what_its_cells_measure(chapter, play):
    links, runs, _ = chapter
    assert len(links) == len(runs) >= 6
    page = play(body="<br>".join(links))
    for i, paths in enumerate(runs):
        page.locator("main > a").nth(i).click()
        rest(page)
        setting = get(page, "setting")
        found = rows(page, [setting])
        assert len(found) == len(paths)
        for run, row, path in zip(setting["runs"], found, paths.values(), strict=True):
            same = python_path(setting, run)
            np.testing.assert_array_equal(path, same)
            if np.abs(path).max() < 1e100:
                np.testing.assert_allclose(row[:2].T, path, rtol=1e-9, atol=1e-9)
        assert page.evaluate("location.hash") != ""


def test_the_playground_opens_as_the_figure_says(chapter, play):
    setting = get(play(), "setting")
    assert setting["surface"] == "ravine"
    assert {x["rule"]: x["lr"] for x in setting["runs"]} == chapter[2]


# The widget


def test_widget_traits():
    from adamtut.widget import Playground

    play = Playground("beale", ["sgd", {"rule": "adam", "lr": 0.5}], lr=0.01, steps=70)
    assert play.runs[0] == {"rule": "sgd", "lr": 0.01}
    assert play.runs[1]["lr"] == 0.5
    assert play.start == SURFACES["beale"].start.tolist()
    state = play.get_state()
    assert state["_esm"] == bundle.module()
    assert (state["surface"], state["steps"]) == ("beale", 70)
    play.runs = [{"rule": "adam", "correction": False}]
    assert play.runs == complete({"runs": play.runs})["runs"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"surface": "moon"}, "surface is 'moon'; allowed: bowl"),
        ({"rules": ["lbfgs"]}, "rule is 'lbfgs'; allowed: sgd"),
        ({"rules": ["sgd"] * 5}, "rules are 5; allowed: 1 to 4"),
        ({"rules": []}, "rules are 0; allowed: 1 to 4"),
        ({"rules": ["sgd"], "beta2": 0.9}, "no rule of .* hyperparameter 'beta2'"),
        ({"lr": -1}, "lr of sgd is -1; allowed: 0 <= lr < inf"),
        ({"rules": [{"rule": "sgd", "speed": 1}]}, "no hyperparameter 'speed'"),
        ({"rules": [{"rule": "sgd", "correction": True}]}, "corrects no bias"),
        ({"start": [1]}, "start is .1.0.; allowed: two finite numbers"),
        ({"steps": 0}, "steps is 0; allowed: 1 to 1000"),
    ],
)
def test_widget_refuses(wrong, words):
    from adamtut.widget import Playground

    with pytest.raises((ValueError, TypeError), match=words):
        Playground(**wrong)


def test_widget_without_anywidget(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "adamtut.widget", raising=False)
    with pytest.raises(
        ImportError, match=r"anywidget: pip install 'adamtut\[widget\]'"
    ):
        import adamtut.widget  # noqa: F401


def test_widget_in_a_browser(browser, site, folder):
    """render() draws what a model holds, and both follow one another."""
    from adamtut.widget import Playground

    names = ["surface", "start", "steps", "runs"]
    traits = {k: v for k, v in Playground(steps=50).get_state().items() if k in names}
    (folder / "widget.html").write_text("<!doctype html><div id='cell'></div>")
    page = browser.new_page()
    page.goto(f"{site}/widget.html")
    page.evaluate(
        """async (traits) => {
      const listeners = {};
      window.saved = 0;
      window.model = {
        get: (name) => traits[name],
        set(name, value) {
          traits[name] = value;
          (listeners[`change:${name}`] ?? []).forEach((f) => f());
        },
        on(event, f) { (listeners[event] ??= []).push(f); },
        off(event, f) { listeners[event] = listeners[event].filter((x) => x !== f); },
        save_changes() { window.saved += 1; },
      };
      const widget = (await import('/widget.js')).default;
      const el = document.getElementById('cell');
      window.stop = widget.render({ model: window.model, el });
    }""",
        traits,
    )
    rest(page)
    assert get(page, "setting") == traits
    assert page.locator("tbody tr").count() == 3
    assert page.get_by_role("button", name="Copy link").count() == 0
    page.evaluate("model.set('surface', 'himmelblau')")
    page.evaluate("model.set('start', [0.5, 0.25])")
    assert get(page, "setting")["surface"] == "himmelblau"
    assert get(page, "setting")["start"] == [0.5, 0.25]
    page.locator(".start").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("[model.get('start'), saved]") == [[0.6, 0.25], 1]
    page.evaluate("stop(); model.set('steps', 9)")
    assert get(page, "setting")["steps"] == 50
    page.close()


def test_the_package_carries_the_scripts(tmp_path):
    for name in ("adamtut", "pyproject.toml", "README.md", "LICENSE"):
        source = tidy.ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(source, tmp_path / name)
    build = "import setuptools.build_meta as b; print(b.build_wheel('.'))"
    made = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr[-2000:]
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        inside = set(wheel.namelist())
    ours = {
        f"adamtut/playground/{x.name}" for x in bundle.HERE.iterdir() if x.is_file()
    }
    assert ours <= inside
