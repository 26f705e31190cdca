// The pictures: the map with its contour lines and paths, and a chart over the steps.
// All of them are drawn in CSS pixels.
const LEVELS = 20; // as adamtut.plots.contours
const CELLS = 100; // of the grid under the contour lines, along each axis
const FAR = 1e5; // a pixel that is surely outside

/* The canvas at its size, emptied; colours and font come from the element's style. */
function begin(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const dots = window.devicePixelRatio || 1;
  const [across, down] = [Math.round(width * dots), Math.round(height * dots)];
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(dots, 0, 0, dots, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.lineJoin = "round";
  return { pen, width, height };
}

/* Functions from the plane to the map's pixels. */
function mapScale(surface, width, height) {
  const [left, right, bottom, top] = surface.window;
  return {
    X: (x) => ((x - left) / (right - left)) * width,
    Y: (y) => ((top - y) / (top - bottom)) * height,
  };
}

function drawGround(canvas, surface, theme) {
  const { pen, width, height } = begin(canvas);
  const { X, Y } = mapScale(surface, width, height);
  const [left, right, bottom, top] = surface.window;
  const n = CELLS + 1;
  const xs = Array.from({ length: n }, (_, i) => left + ((right - left) * i) / CELLS);
  const ys = Array.from({ length: n }, (_, j) => bottom + ((top - bottom) * j) / CELLS);
  const z = ys.map((y) => xs.map((x) => surface.f(x, y)));
  const low = Math.min(...z.map((row) => Math.min(...row)));
  const high = Math.max(...z.map((row) => Math.max(...row)));
  pen.beginPath();
  for (let k = 1; k < LEVELS; k++) {
    const level = low + (high - low) * (k / (LEVELS - 1)) ** 3;
    contour(pen, z, level, (i) => (i / CELLS) * width, (j) => (1 - j / CELLS) * height);
  }
  pen.strokeStyle = theme.faint;
  pen.lineWidth = 1;
  pen.stroke();
  pen.beginPath();
  for (const [x, y] of surface.minima) {
    pen.moveTo(X(x) - 5, Y(y) - 5);
    pen.lineTo(X(x) + 5, Y(y) + 5);
    pen.moveTo(X(x) + 5, Y(y) - 5);
    pen.lineTo(X(x) - 5, Y(y) + 5);
  }
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 2;
  pen.stroke();
  pen.font = theme.font;
  pen.fillStyle = theme.soft;
  pen.textBaseline = "bottom";
  for (const k of [1, 2, 3]) {
    pen.textAlign = "center";
    pen.fillText(show(left + ((right - left) * k) / 4), (width * k) / 4, height - 3);
    pen.textAlign = "left";
    pen.fillText(show(bottom + ((top - bottom) * k) / 4), 4, height * (1 - k / 4) + 6);
  }
}

/* Marching squares: the line z = level through every cell that it crosses. */
function contour(pen, z, level, I, J) {
  for (let j = 0; j < CELLS; j++) {
    for (let i = 0; i < CELLS; i++) {
      const corners = [z[j][i], z[j][i + 1], z[j + 1][i + 1], z[j + 1][i]];
      const places = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
      const cuts = [];
      for (let k = 0; k < 4; k++) {
        const [a, b] = [corners[k], corners[(k + 1) % 4]];
        if (a < level === b < level) continue;
        const share = (level - a) / (b - a);
        const [p, q] = [places[k], places[(k + 1) % 4]];
        cuts.push([p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])]);
      }
      for (let k = 0; k + 1 < cuts.length; k += 2) {
        pen.moveTo(I(cuts[k][0]), J(cuts[k][1]));
        pen.lineTo(I(cuts[k + 1][0]), J(cuts[k + 1][1]));
      }
    }
  }
}

const clamp = (x, least, most) => Math.min(Math.max(x, least), most);

/* The points 0 ... last as one line, broken where a number is not finite. */
function drawLine(pen, look, last, X, Y) {
  pen.beginPath();
  let down = false;
  for (let t = 0; t <= last; t++) {
    const [x, y] = [X(t), Y(t)];
    if (!Number.isFinite(x) || !Number.isFinite(y)) {
      down = false;
      continue;
    }
    pen[down ? "lineTo" : "moveTo"](clamp(x, -FAR, FAR), clamp(y, -FAR, FAR));
    down = true;
  }
  pen.setLineDash(look.dash);
  pen.strokeStyle = look.color;
  pen.lineWidth = 2;
  pen.stroke();
  pen.setLineDash([]);
}

function drawDisc(pen, look, x, y, theme) {
  if (!Number.isFinite(x) || !Number.isFinite(y)) return;
  pen.beginPath();
  pen.arc(x, y, 8, 0, 2 * Math.PI);
  pen.fillStyle = look.color;
  pen.fill();
  pen.strokeStyle = theme.paper;
  pen.lineWidth = 1.5;
  pen.stroke();
  pen.font = theme.bold;
  pen.fillStyle = look.text;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(look.number, x, y + 0.5);
}

function drawPaths(canvas, surface, paths, looks, shown, theme) {
  const { pen, width, height } = begin(canvas);
  const { X, Y } = mapScale(surface, width, height);
  paths.forEach(({ x, y }, i) => {
    drawLine(pen, looks[i], shown, (t) => X(x[t]), (t) => Y(y[t]));
  });
  paths.forEach(({ x, y }, i) => {
    // one that has left the map waits at its edge
    const [px, py] = [X(x[shown]), Y(y[shown])];
    drawDisc(pen, looks[i], clamp(px, 9, width - 9), clamp(py, 9, height - 9), theme);
  });
}

/* How a chart shows values: in decades, or, for values of both signs, by asinh.
   `start` is a value of the beginning: a run that diverges must not press the others
   flat, so that the chart ends two decades above it. */
function chartScale(rows, start, decades) {
  const to = decades ? (v) => (v > 0 ? Math.log10(v) : NaN) : Math.asinh;
  let [least, most] = [Infinity, -Infinity];
  for (const row of rows) {
    for (const value of row) {
      const v = to(value);
      if (!Number.isFinite(v)) continue;
      if (v < least) least = v;
      if (v > most) most = v;
    }
  }
  if (least > most) [least, most] = [-1, 0];
  if (decades && Number.isFinite(to(start))) most = Math.min(most, to(start) + 2);
  if (!decades) [least, most] = [Math.max(least, -9), Math.min(most, 9)];
  if (decades) least = Math.max(least, most - 16);
  if (most - least < 0.5) [least, most] = [least - 0.25, most + 0.25];
  return { to, least, most, ticks: decades ? decadeTicks(least, most) : asinhTicks(least, most) };
}

function decadeTicks(least, most) {
  const ticks = [];
  const every = Math.max(1, Math.ceil((most - least) / 5));
  for (let k = Math.ceil(least); k <= most; k++) {
    if (k % every === 0) ticks.push([k, k >= -2 && k <= 3 ? String(10 ** k) : `1e${k}`]);
  }
  if (ticks.length < 2) {
    for (const v of [least, most]) ticks.push([v, Number((10 ** v).toPrecision(2)).toString()]);
  }
  return ticks.map(([at, text]) => [at, text.replace("-", "−")]);
}

function asinhTicks(least, most) {
  return [-1000, -100, -10, -1, 0, 1, 10, 100, 1000]
    .map((v) => [Math.asinh(v), show(v)])
    .filter(([at]) => at >= least && at <= most);
}

function drawChart(canvas, scale, rows, looks, shown, theme) {
  const { pen, width, height } = begin(canvas);
  const [left, right, top, bottom] = [46, width - 12, 10, height - 20];
  const steps = rows[0].length - 1;
  const X = (t) => left + ((right - left) * t) / steps;
  const place = (v) => bottom - ((v - scale.least) / (scale.most - scale.least)) * (bottom - top);
  pen.font = theme.font;
  pen.lineWidth = 1;
  pen.strokeStyle = theme.line;
  pen.fillStyle = theme.soft;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.beginPath();
  for (const [at, text] of scale.ticks) {
    pen.moveTo(left, place(at));
    pen.lineTo(right, place(at));
    pen.fillText(text, left - 5, place(at));
  }
  pen.stroke();
  pen.textBaseline = "bottom";
  pen.textAlign = "left";
  pen.fillText("0", left, height - 2);
  pen.textAlign = "right";
  pen.fillText(`step ${steps}`, right, height - 2);
  pen.save();
  pen.beginPath();
  pen.rect(left, top - 2, right - left, bottom - top + 4);
  pen.clip();
  rows.forEach((row, i) => drawLine(pen, looks[i], shown, X, (t) => place(scale.to(row[t]))));
  pen.restore();
  rows.forEach((row, i) => {
    const y = place(scale.to(row[shown]));
    drawDisc(pen, looks[i], X(shown), clamp(y, top, bottom), theme);
  });
}
