// A setting is what the reader chose, and all that a link carries:
//   { surface, start: [x, y], steps, runs: [{ rule, lr, ..., correction }, ...] }
// `correction` stands in a run whose rule corrects a bias.
const MOST_RUNS = 4;
const MOST_STEPS = 1000;
const FIRST = {
  surface: "ravine",
  steps: 100,
  runs: [
    { rule: "sgd", lr: 0.03 },
    { rule: "momentum", lr: 0.03 },
    { rule: "adam", lr: 0.3 },
  ],
};
function refuse(what, value, allowed) {
  throw new RangeError(`${what} is ${JSON.stringify(value)}; allowed: ${allowed}`);
}

function check(test, what, value, allowed) {
  if (!test) refuse(what, value, allowed);
}

const isNumber = (x) => typeof x === "number" && Number.isFinite(x);

function checkRange(range, what, value) {
  const { least, withLeast, most, withMost, words } = range;
  const above = least === null || value > least || (withLeast && value === least);
  const below = most === null || value < most || (withMost && value === most);
  check(isNumber(value) && above && below, what, value, words);
}

function checkKeys(object, what, allowed) {
  const plain = typeof object === "object" && object !== null && !Array.isArray(object);
  check(plain, what, object, "an object");
  for (const key of Object.keys(object)) {
    check(allowed.includes(key), `a key of ${what}`, key, allowed.join(", "));
  }
}

function checkName(table, what, name) {
  check(typeof name === "string" && Object.hasOwn(table, name), what, name,
    Object.keys(table).join(", "));
}

/* The setting with everything that was left out; RangeError where it is none. */
function complete(given) {
  checkKeys(given, "the setting", ["surface", "start", "steps", "runs"]);
  const { surface = FIRST.surface, steps = FIRST.steps, runs = FIRST.runs } = given;
  checkName(SURFACES, "surface", surface);
  const start = given.start ?? SURFACES[surface].start;
  check(Array.isArray(start) && start.length === 2 && start.every(isNumber),
    "start", start, "two numbers");
  check(Number.isInteger(steps) && steps >= 1 && steps <= MOST_STEPS,
    "steps", steps, `1 to ${MOST_STEPS}`);
  check(Array.isArray(runs) && runs.length >= 1 && runs.length <= MOST_RUNS,
    "runs", runs, `a list of 1 to ${MOST_RUNS}`);
  return { surface, start: [...start], steps, runs: runs.map(completeRun) };
}

function completeRun(given) {
  checkName(RULES, "rule", given?.rule);
  const rule = RULES[given.rule];
  const corrects = rule.uncorrected ? ["correction"] : [];
  checkKeys(given, `a run of ${given.rule}`,
    ["rule", ...Object.keys(rule.defaults), ...corrects]);
  const run = { rule: given.rule, ...rule.defaults };
  if (rule.uncorrected) run.correction = true;
  Object.assign(run, given);
  for (const [name, range] of Object.entries(rule.ranges)) {
    checkRange(range, `${name} of ${run.rule}`, run[name]);
  }
  if (rule.uncorrected) {
    check(typeof run.correction === "boolean", "correction", run.correction,
      "true, false");
  }
  return run;
}

/* A link is #id={"surface": ...}: the fragment names the element that it sets. */
function toFragment(id, setting) {
  return `#${id}=${encodeURIComponent(JSON.stringify(setting))}`;
}

/* The setting in a fragment, null where it is none of this element's; throws where it
   cannot be read. */
function fromFragment(id, fragment) {
  if (!fragment.startsWith(`#${id}=`)) return null;
  const text = decodeURIComponent(fragment.slice(id.length + 2));
  return complete(JSON.parse(text));
}

// Sliders: the position of a value and the value at a position.

/* [least, most, value to position, position to value] of a hyperparameter. */
function scale(rule, name) {
  const { least, most } = RULES[rule].ranges[name];
  const usual = RULES[rule].defaults[name];
  const round = (x) => Number(x.toPrecision(2));
  if (least === 0 && most === 1) {
    // a decay rate: even in the logarithm of 1 - value, which is 1 / memory
    return [0, 5, (x) => -Math.log10(1 - x), (u) => Number((1 - round(10 ** -u)).toFixed(8))];
  }
  if (least === 0) {
    const [from, to] = name === "lr" ? [-5, 1] : name === "eps" ? [-16, 0] : [-6, 1];
    return [from, to, (x) => Math.log10(x), (u) => round(10 ** u)];
  }
  const width = 3 * Math.max(Math.abs(usual), 1);
  const from = least ?? usual - width;
  return [from, most ?? usual + width, (x) => x, (u) => Number(u.toPrecision(3))];
}

/* A number in a field: exactly, in the shorter of its two forms. */
function exact(x) {
  const [plain, power] = [String(x), x.toExponential().replace("e+", "e")];
  return plain.length <= 6 || plain.length <= power.length ? plain : power;
}

/* A number as the table and the axes show it. */
function show(x) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "–" : x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5)
    ? x.toExponential(2) : String(Number(x.toPrecision(4)));
  return text.replace("e+", "e").replaceAll("-", "−");
}
