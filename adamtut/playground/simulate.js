// A rule on a surface: adamtut.walk in the browser.
// RULES and SURFACES, which the bundle makes from adamtut, call these two.
const square = (x) => x * x;

const quadratic = (a, b, c) => ({
  f: (x, y) => 0.5 * (a * x * x + 2 * b * x * y + c * y * y),
  grad: (x, y) => [a * x + b * y, b * x + c * y],
});

/* All that a run of a complete setting visits: Float64Arrays of steps + 1 numbers.
   x, y   the points, the start included
   f      the surface there
   ratio  the longer of the two coordinates' steps, divided by lr; nan at the start */
function simulate(setting, run) {
  const { steps } = setting;
  const surface = SURFACES[setting.surface];
  const rule = RULES[run.rule];
  const step = run.correction === false ? rule.uncorrected : rule.step;
  const [x, y, f, ratio] = [0, 1, 2, 3].map(() => new Float64Array(steps + 1));
  const begin = (p) => rule.state.map((name) => (rule.starts[name] === "p" ? p : 0));
  let [px, py] = setting.start;
  let sx = begin(px);
  let sy = begin(py);
  [x[0], y[0], f[0], ratio[0]] = [px, py, surface.f(px, py), NaN];
  for (let t = 1; t <= steps; t++) {
    const [gx, gy] = surface.grad(px, py);
    [px, ...sx] = step(px, gx, sx, t, run);
    [py, ...sy] = step(py, gy, sy, t, run);
    x[t] = px;
    y[t] = py;
    f[t] = surface.f(px, py);
    ratio[t] = Math.max(Math.abs(px - x[t - 1]), Math.abs(py - y[t - 1])) / run.lr;
  }
  return { x, y, f, ratio };
}

/* The lr, of ten to a decade from 1e-5 to 10, after which the run ends lowest. */
function bestRate(setting, run) {
  let best = run.lr;
  let lowest = Infinity;
  for (let i = -50; i <= 10; i++) {
    const lr = Number((10 ** (i / 10)).toPrecision(2));
    const { f } = simulate(setting, { ...run, lr });
    if (f[setting.steps] < lowest) [lowest, best] = [f[setting.steps], lr];
  }
  return best;
}
