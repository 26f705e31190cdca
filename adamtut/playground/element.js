// <adam-playground preset='{"surface": "ravine", "runs": [{"rule": "adam", "lr": 0.1}]}'>
// What stands inside the tag is shown where this script does not run.
const SPEAK_AFTER = 1000; // ms of rest before the values are announced
const LONGEST = 8; // seconds that a race may take
const SLOWEST = 30; // steps a second, at least

/* A DOM element; properties that are functions listen. */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const dashes = [[], [8, 4], [2, 3], [8, 3, 2, 3]];

/* The look of each run: its rule's, with other dashes where a rule runs twice. */
function looksOf(runs, dark) {
  const taken = [];
  return runs.map((run, i) => {
    const rule = RULES[run.rule];
    const free = [rule.dash, ...dashes].find(
      (dash) => !taken.includes(`${run.rule} ${dash}`));
    const dash = free ?? rule.dash;
    taken.push(`${run.rule} ${dash}`);
    const color = dark ? rule.dark : rule.color;
    return { color, dash, number: String(i + 1), text: textOn(color) };
  });
}

/* Black or white, whichever stands out more from the colour #rrggbb. */
function textOn(color) {
  const [r, g, b] = [1, 3, 5]
    .map((k) => parseInt(color.slice(k, k + 2), 16) / 255)
    .map((s) => (s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}

/* Whether the page is dark: the book, Jupyter, Colab, or what the system prefers. */
function isDark() {
  const { documentElement: html, body } = document;
  const book = html.dataset.theme;
  if (book === "dark" || book === "light") return book === "dark";
  if (body?.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
  if (html.getAttribute("theme")) return html.getAttribute("theme") === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

const nameOf = (run) => run.rule + (run.correction === false ? ", not corrected" : "");

class AdamPlayground extends HTMLElement {
  static observedAttributes = ["preset"];

  #setting = complete({});
  #paths = null;
  #charts = null; // scales of the two charts
  #looks = [];
  #theme = {};
  #parts = {};
  #shown = FIRST.steps;
  #clock = null; // while it plays: { from, since }
  #stale = { cards: true, ground: true };
  #waiting = 0; // the id of the next frame
  #speaker = 0;
  #undo = []; // what to stop when the element leaves the page

  constructor() {
    super();
    this.attachShadow({ mode: "open" });
    this.#build();
  }

  connectedCallback() {
    const watch = (target, event, action) => {
      target.addEventListener(event, action);
      this.#undo.push(() => target.removeEventListener(event, action));
    };
    const restyle = () => this.#restyle();
    const theme = new MutationObserver(restyle);
    const attributes = { attributeFilter: ["data-theme", "data-jp-theme-light", "theme"] };
    theme.observe(document.documentElement, attributes);
    theme.observe(document.body, attributes);
    const size = new ResizeObserver(restyle);
    size.observe(this);
    this.#undo.push(() => theme.disconnect(), () => size.disconnect());
    watch(matchMedia("(prefers-color-scheme: dark)"), "change", restyle);
    watch(this.#still, "change", () => this.#calm());
    this.#calm();
    if (!this.hasAttribute("nolink")) {
      watch(window, "hashchange", () => {
        if (this.#fromLink()) this.scrollIntoView();
      });
      watch(document, "click", (event) => this.#followed(event));
      if (this.#fromLink()) this.scrollIntoView();
    }
    this.#parts.copy.hidden = this.hasAttribute("nolink");
    this.#restyle();
  }

  disconnectedCallback() {
    this.#undo.splice(0).forEach((stop) => stop());
    cancelAnimationFrame(this.#waiting);
    clearTimeout(this.#speaker);
    this.#waiting = 0;
    this.#clock = null;
  }

  attributeChangedCallback() {
    this.#attempt(() => {
      this.setting = this.#preset();
    });
  }

  /* The whole setting; what an assigned one leaves out is filled in. RangeError where
     it is none. */
  get setting() {
    return structuredClone(this.#setting);
  }

  set setting(given) {
    this.#change(complete(given));
    this.step = this.#setting.steps;
  }

  /* What every run visits, see simulate. */
  get paths() {
    this.#paths ??= this.#setting.runs.map((run) => simulate(this.#setting, run));
    return this.#paths;
  }

  /* The step that is shown, and up to which the paths are drawn. */
  get step() {
    return this.#shown;
  }

  set step(step) {
    this.#shown = clamp(Math.round(step), 0, this.#setting.steps);
    this.#draw();
  }

  get playing() {
    return this.#clock !== null;
  }

  play() {
    if (this.#still.matches) {
      this.step = this.#setting.steps;
      return;
    }
    const from = this.#shown < this.#setting.steps ? this.#shown : 0;
    this.#clock = { from, since: performance.now() };
    this.#draw();
  }

  pause() {
    this.#clock = null;
    this.#draw();
  }

  /* The address of this page with the whole setting. */
  get link() {
    return location.href.split("#")[0] + toFragment(this.#name, this.#setting);
  }

  #still = matchMedia("(prefers-reduced-motion: reduce)");

  get #name() {
    return this.id || "playground";
  }

  #preset() {
    const text = this.getAttribute("preset");
    return text ? JSON.parse(text) : {};
  }

  #fromLink() {
    let found = false;
    this.#attempt(() => {
      const setting = fromFragment(this.#name, location.hash);
      if (setting) {
        this.setting = setting;
        found = true;
      }
    });
    return found;
  }

  /* A link of the page: <a href="#playground" data-setting='{"surface": ...}'>. */
  #followed(event) {
    const link = event.target.closest?.("a[data-setting]");
    if (link?.getAttribute("href") !== `#${this.#name}`) return;
    event.preventDefault();
    this.#attempt(() => {
      const fragment = toFragment(this.#name, complete(JSON.parse(link.dataset.setting)));
      // the address changes, and with it the setting; a second click sets it again
      if (location.hash === fragment) this.#fromLink();
      else location.hash = fragment;
      this.scrollIntoView();
    });
  }

  /* Do it, or say why not; the setting stays as it was. */
  #attempt(action, field = null) {
    const { message } = this.#parts;
    try {
      action();
      message.hidden = true;
      this.shadowRoot.querySelectorAll("[aria-invalid]")
        .forEach((x) => x.removeAttribute("aria-invalid"));
    } catch (error) {
      message.textContent = error.message;
      message.hidden = false;
      field?.setAttribute("aria-invalid", "true");
    }
  }

  #calm() {
    this.#parts.play.hidden = this.#still.matches;
    if (this.#still.matches && this.playing) {
      this.#clock = null;
      this.step = this.#setting.steps;
    }
  }

  #change(setting) {
    const atEnd = this.#shown >= this.#setting.steps;
    const old = this.#setting;
    const rules = (x) => x.runs.map((run) => run.rule).join();
    this.#stale.cards ||= rules(old) !== rules(setting);
    this.#stale.ground ||= old.surface !== setting.surface;
    this.#setting = setting;
    this.#paths = this.#charts = null;
    this.#shown = atEnd ? setting.steps : Math.min(this.#shown, setting.steps);
    if (this.playing) this.#clock.from = Math.min(this.#clock.from, setting.steps);
    this.dispatchEvent(new CustomEvent("setting"));
    this.#draw();
  }

  /* Change some entries of the setting, or of run i. */
  #set(entries, field = null) {
    this.#attempt(() => this.#change(complete({ ...this.#setting, ...entries })), field);
  }

  #setRun(i, entries, field = null) {
    const runs = this.#setting.runs.map((run, k) => (k === i ? { ...run, ...entries } : run));
    this.#set({ runs }, field);
  }

  /* A run of this rule, with the lr that suits it here. */
  #newRun(name) {
    const run = completeRun({ rule: name });
    return { ...run, lr: this.#best(run) };
  }

  #best(run) {
    const bounded = SURFACES[this.#setting.surface].lowest !== null;
    return bounded ? bestRate(this.#setting, run) : run.lr;
  }

  // What stands on the page

  #build() {
    const parts = this.#parts;
    parts.ground = make("canvas", { "aria-hidden": "true" });
    parts.lines = make("canvas", { role: "img" });
    parts.start = make("button", {
      class: "start",
      type: "button",
      keydown: (event) => this.#key(event),
      pointerdown: (event) => {
        parts.start.setPointerCapture(event.pointerId);
        parts.start.focus();
      },
      pointermove: (event) => {
        if (parts.start.hasPointerCapture(event.pointerId)) this.#drag(event);
      },
    });
    parts.map = make("div", { class: "map", click: (event) => this.#tap(event) },
      parts.ground, parts.lines, parts.start);
    parts.loss = make("canvas", { role: "img" });
    parts.ratio = make("canvas", { role: "img" });
    parts.lossTitle = make("figcaption");
    parts.play = make("button", {
      class: "go",
      type: "button",
      click: () => (this.playing ? this.pause() : this.play()),
    }, "Play");
    parts.scrub = make("input", {
      type: "range",
      min: 0,
      input: () => {
        this.#clock = null;
        this.step = Number(parts.scrub.value);
      },
    });
    parts.count = make("output");
    parts.surface = make("select", {
      change: () => this.#set({ surface: parts.surface.value, start: undefined }),
    }, ...Object.keys(SURFACES).map((name) => make("option", { value: name }, name)));
    const field = (entries) => make("input", {
      type: "text",
      inputmode: "decimal",
      autocomplete: "off",
      change: (event) => this.#set(entries(Number(event.target.value)), event.target),
    });
    parts.x = field((x) => ({ start: [x, this.#setting.start[1]] }));
    parts.y = field((y) => ({ start: [this.#setting.start[0], y] }));
    parts.steps = field((steps) => ({ steps }));
    parts.copy = make("button", { type: "button", click: () => this.#copy() }, "Copy link");
    parts.reset = make("button", {
      type: "button",
      click: () => this.#attempt(() => {
        this.setting = this.#preset();
      }),
    }, "Reset");
    parts.message = make("p", { class: "message", role: "alert", hidden: true });
    parts.runs = make("div", { class: "runs" });
    parts.add = make("button", {
      class: "add",
      type: "button",
      click: () => {
        const runs = this.#setting.runs;
        const names = Object.keys(RULES);
        const free = names.find((name) => !runs.some((run) => run.rule === name));
        this.#set({ runs: [...runs, this.#newRun(free ?? names[0])] });
      },
    }, "Add a rule");
    parts.caption = make("caption");
    parts.values = make("tbody");
    parts.spoken = make("p", { class: "spoken", role: "status" });
    const column = (text) => make("th", { scope: "col" }, text);
    this.shadowRoot.append(
      make("style", {}, STYLE),
      make("div", { class: "all" },
        make("div", { class: "plane" }, parts.map),
        make("div", { class: "charts" },
          make("figure", {}, parts.lossTitle, parts.loss),
          make("figure", {}, make("figcaption", {}, "Longest step ÷ lr"), parts.ratio)),
        make("div", { class: "bar play" },
          parts.play,
          make("label", { class: "scrub" }, "Step", parts.scrub),
          parts.count),
        make("div", { class: "bar where" },
          make("label", {}, "Surface", parts.surface),
          make("span", { class: "at" },
            make("label", {}, "Start x", parts.x), make("label", {}, "y", parts.y)),
          make("label", {}, "Steps", parts.steps),
          parts.copy, parts.reset, parts.message),
        make("div", { class: "rules" }, parts.runs, parts.add),
        make("table", {}, parts.caption,
          make("thead", {}, make("tr", {},
            column("rule"), column("x"), column("y"), column("f"), column("step ÷ lr"))),
          parts.values)),
      parts.spoken);
  }

  #buildCards() {
    const cards = this.#setting.runs.map((run, i) => {
      const { defaults, uncorrected } = RULES[run.rule];
      const number = i + 1;
      const rule = make("select", {
        "aria-label": `Rule ${number}`,
        change: () => {
          const runs = this.#setting.runs.map((old, k) => (
            k === i ? this.#newRun(rule.value) : old));
          this.#set({ runs });
        },
      }, ...Object.keys(RULES).map((name) => make("option", { value: name }, name)));
      rule.value = run.rule;
      const knobs = Object.keys(defaults).map((name) => this.#buildKnob(i, name));
      const corrected = make("input", {
        type: "checkbox",
        change: () => this.#setRun(i, { correction: corrected.checked }),
      });
      const card = make("fieldset", {},
        make("legend", {}, make("span", { class: "spoken" }, `Rule ${number}: ${run.rule}`)),
        make("div", { class: "head" },
          make("span", { class: "disc", "aria-hidden": "true" }, String(number)),
          rule,
          make("button", {
            type: "button",
            "aria-label": `Remove rule ${number}`,
            disabled: this.#setting.runs.length === 1,
            click: () => {
              this.#set({ runs: this.#setting.runs.filter((_, k) => k !== i) });
              this.#parts.add.focus();
            },
          }, "×")),
        ...knobs.map((knob) => knob.row),
        make("div", { class: "foot" },
          ...(uncorrected ? [make("label", {}, corrected, "bias correction")] : []),
          make("button", {
            type: "button",
            title: "The lr, of ten to a decade, with the lowest f at the last step",
            click: () => this.#setRun(i, { lr: this.#best(this.#setting.runs[i]) }),
          }, "Best lr")));
      return { card, knobs, corrected, rule };
    });
    // the select that was just used keeps the focus
    const old = this.#parts.cards ?? [];
    const used = old.findIndex((x) => x.rule === this.shadowRoot.activeElement);
    this.#parts.cards = cards;
    this.#parts.runs.replaceChildren(...cards.map((x) => x.card));
    if (used >= 0) cards[used]?.rule.focus();
  }

  #buildKnob(i, name) {
    const [least, most, , toValue] = scale(this.#setting.runs[i].rule, name);
    const typed = make("input", {
      type: "text",
      inputmode: "decimal",
      autocomplete: "off",
      change: () => {
        const value = typed.value.trim() === "" ? NaN : Number(typed.value);
        this.#setRun(i, { [name]: value }, typed);
      },
    });
    const slider = make("input", {
      type: "range",
      min: least,
      max: most,
      step: 0.02,
      "aria-label": `${name} of rule ${i + 1}`,
      input: () => this.#setRun(i, { [name]: toValue(Number(slider.value)) }),
    });
    const row = make("div", { class: "knob" },
      make("label", {}, make("span", {}, name), typed), slider);
    return { name, row, typed, slider };
  }

  // The start: dragged, tapped, moved by keys

  #place({ clientX, clientY }) {
    const [left, right, bottom, top] = SURFACES[this.#setting.surface].window;
    const box = this.#parts.map.getBoundingClientRect();
    const across = clamp((clientX - box.left) / box.width, 0, 1);
    const down = clamp((clientY - box.top) / box.height, 0, 1);
    const round = (v, width) => Number(v.toFixed(width > 1 ? 3 : 5));
    return [
      round(left + across * (right - left), right - left),
      round(top - down * (top - bottom), top - bottom),
    ];
  }

  #drag(event) {
    this.#set({ start: this.#place(event) });
  }

  #tap(event) {
    if (event.target !== this.#parts.start) this.#set({ start: this.#place(event) });
  }

  #key(event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const surface = SURFACES[this.#setting.surface];
    if (event.key === "Home") {
      this.#set({ start: [...surface.start] });
    } else if (event.key in move && !event.ctrlKey && !event.altKey && !event.metaKey) {
      const [left, right, bottom, top] = surface.window;
      const share = event.shiftKey ? 0.1 : 0.01;
      const [dx, dy] = move[event.key];
      const [x, y] = this.#setting.start;
      const round = (v) => Number(v.toFixed(6));
      this.#set({
        start: [
          round(clamp(x + dx * share * (right - left), left, right)),
          round(clamp(y + dy * share * (top - bottom), bottom, top)),
        ],
      });
    } else {
      return;
    }
    event.preventDefault();
  }

  async #copy() {
    const { link } = this;
    history.replaceState(null, "", link); // also where the clipboard is out of reach
    let text = "The link is in the address bar";
    try {
      await navigator.clipboard.writeText(link);
      text = "Link copied";
    } catch {
      // no permission, or a page from file://
    }
    this.#parts.copy.textContent = text;
    this.#parts.spoken.textContent = text;
    setTimeout(() => {
      this.#parts.copy.textContent = "Copy link";
    }, 2500);
  }

  // Drawing

  #restyle() {
    const dark = isDark();
    this.toggleAttribute("dark", dark);
    const style = getComputedStyle(this);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    this.#theme = {
      dark,
      font: `12px ${style.fontFamily}`,
      bold: `bold 11px ${style.fontFamily}`,
      ...Object.fromEntries(
        ["paper", "ink", "soft", "line", "faint"].map((name) => [name, color(name)])),
    };
    this.#stale.ground = true;
    this.#draw();
  }

  #draw() {
    if (this.isConnected && !this.#waiting) {
      this.#waiting = requestAnimationFrame(() => this.#frame());
    }
  }

  #frame() {
    this.#waiting = 0;
    const { steps } = this.#setting;
    if (this.#clock) {
      const speed = Math.max(SLOWEST, steps / LONGEST);
      const { from, since } = this.#clock;
      this.#shown = Math.min(from + Math.floor(((performance.now() - since) / 1000) * speed), steps);
      if (this.#shown === steps) this.#clock = null;
      else this.#draw();
    }
    if (this.#charts === null) this.#sync();
    const { paths } = this;
    const surface = SURFACES[this.#setting.surface];
    const parts = this.#parts;
    const [shown, theme] = [this.#shown, this.#theme];
    if (this.#stale.ground) {
      const [left, right, bottom, top] = surface.window;
      parts.map.style.aspectRatio = `${right - left} / ${top - bottom}`;
      drawGround(parts.ground, surface, theme);
      this.#looks = looksOf(this.#setting.runs, theme.dark);
      this.#paint();
      this.#stale.ground = false;
    }
    drawPaths(parts.lines, surface, paths, this.#looks, shown, theme);
    const [loss, ratio] = this.#charts;
    drawChart(parts.loss, loss, loss.rows, this.#looks, shown, theme);
    drawChart(parts.ratio, ratio, ratio.rows, this.#looks, shown, theme);
    parts.play.textContent = this.playing ? "Pause" : "Play";
    parts.scrub.value = shown;
    parts.count.textContent = `${shown} of ${steps}`;
    this.#fill();
  }

  /* The controls and scales after a change of the setting. */
  #sync() {
    const setting = this.#setting;
    const parts = this.#parts;
    const surface = SURFACES[setting.surface];
    if (this.#stale.cards) this.#buildCards();
    this.#stale.cards = false;
    parts.surface.value = setting.surface;
    [parts.x.value, parts.y.value] = setting.start.map(exact);
    parts.steps.value = setting.steps;
    parts.scrub.max = setting.steps;
    parts.add.disabled = setting.runs.length === MOST_RUNS;
    parts.cards.forEach(({ knobs, corrected }, i) => {
      const run = setting.runs[i];
      corrected.checked = run.correction !== false;
      for (const { name, typed, slider } of knobs) {
        typed.value = exact(run[name]);
        slider.value = clamp(scale(run.rule, name)[2](run[name]), slider.min, slider.max);
        slider.setAttribute("aria-valuetext", exact(run[name]));
      }
    });
    const [left, right, bottom, top] = surface.window;
    const [x, y] = setting.start;
    const share = (v, a, b) => `${clamp((v - a) / (b - a), 0, 1) * 100}%`;
    parts.start.style.left = share(x, left, right);
    parts.start.style.top = share(y, top, bottom);
    parts.start.setAttribute("aria-label",
      `Start at x ${show(x)}, y ${show(y)}. Arrow keys move it, with Shift faster; Home puts it back.`);
    const bounded = surface.lowest !== null;
    parts.lossTitle.textContent = !bounded ? "f" : surface.lowest === 0
      ? "f, which is 0 at the minimum" : "f above its minimum";
    const lossRows = this.paths.map(({ f }) => (bounded ? f.map((v) => v - surface.lowest) : f));
    const ratioRows = this.paths.map(({ ratio }) => ratio);
    const firstSteps = Math.max(...ratioRows.map((row) => row[1]).filter(Number.isFinite));
    this.#charts = [
      { rows: lossRows, ...chartScale(lossRows, lossRows[0][0], bounded) },
      { rows: ratioRows, ...chartScale(ratioRows, firstSteps, true) },
    ];
    const names = setting.runs.map(nameOf).join("; ");
    const see = "The values are in the table below.";
    parts.lines.setAttribute("aria-label", `Map of the ${setting.surface} with the paths of ${names}. ${see}`);
    parts.loss.setAttribute("aria-label", `f after each step. ${see}`);
    parts.ratio.setAttribute("aria-label", `Longest step divided by lr, at each step. ${see}`);
    this.#looks = looksOf(setting.runs, this.#theme.dark);
    this.#paint();
  }

  /* The cards in the colours of their runs. */
  #paint() {
    this.#parts.cards.forEach(({ card }, i) => {
      card.style.setProperty("--run", this.#looks[i].color);
      card.style.setProperty("--on-run", this.#looks[i].text);
    });
  }

  /* The table at the step shown; read aloud once it rests. */
  #fill() {
    const t = this.#shown;
    const { runs } = this.#setting;
    const { caption, values } = this.#parts;
    caption.textContent = `After step ${t}`;
    while (values.rows.length > runs.length) values.lastChild.remove();
    while (values.rows.length < runs.length) {
      values.append(make("tr", {}, make("th", { scope: "row" }),
        ...Array.from({ length: 4 }, () => make("td"))));
    }
    runs.forEach((run, i) => {
      const { x, y, f, ratio } = this.paths[i];
      const lost = Number.isFinite(f[t]) ? "" : ", diverged";
      const cells = [`${i + 1} ${nameOf(run)}${lost}`, ...[x, y, f, ratio].map((row) => show(row[t]))];
      cells.forEach((text, k) => {
        const cell = values.rows[i].cells[k];
        if (cell.textContent !== text) cell.textContent = text;
      });
    });
    clearTimeout(this.#speaker);
    this.#speaker = setTimeout(() => this.#speak(), SPEAK_AFTER);
  }

  #speak() {
    const t = this.#shown;
    const values = this.#setting.runs.map((run, i) => {
      const f = this.paths[i].f[t];
      return `${nameOf(run)}: ${Number.isFinite(f) ? `f ${show(f)}` : "diverged"}`;
    });
    this.#parts.spoken.textContent = `After step ${t}: ${values.join("; ")}.`;
  }
}

if (!customElements.get("adam-playground")) {
  customElements.define("adam-playground", AdamPlayground);
}
