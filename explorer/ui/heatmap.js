// A heatmap on a canvas.  The element is kept between runs; each run draws the new data into it.
// Texts are only ever drawn or set through textContent.

const bytes = (text) => Uint8ClampedArray.from(atob(text), (character) => character.charCodeAt(0));

function layoutOf(spec, context, width) {
  context.font = FONT(11);
  const widest = (labels) => Math.max(0, ...labels.map(([, text]) => context.measureText(text).width));
  const slanted = widest(spec.xLabels) > 22;
  const left = widest(spec.yLabels) + (spec.yTitle ? 30 : 12);
  const bottom = (slanted ? widest(spec.xLabels) * 0.87 + 14 : 20) + (spec.xTitle ? 18 : 4);
  const top = spec.legend ? 46 : spec.title ? 24 : 8;
  const plot = { left, top, width: width - left - 6, height: spec.height - top - bottom, slanted };
  return { ...plot, stepX: plot.width / spec.columns, stepY: plot.height / spec.rows };
}

// Upper left corner of a target, in pixels.
function corner(spec, plot, row, column) {
  const line = spec.upwards ? spec.rows - 1 - row : row;
  return [plot.left + column * plot.stepX, plot.top + line * plot.stepY];
}

function drawCells(spec, plot, context) {
  const levels = bytes(spec.cells), colors = bytes(spec.colors);
  const image = new ImageData(spec.cellColumns, spec.cellRows);
  for (let row = 0; row < spec.cellRows; row++) {
    const line = spec.upwards ? spec.cellRows - 1 - row : row;
    for (let column = 0; column < spec.cellColumns; column++) {
      const level = levels[row * spec.cellColumns + column];
      image.data.set(colors.subarray(4 * level, 4 * level + 4), 4 * (line * spec.cellColumns + column));
    }
  }
  const small = document.createElement("canvas");
  [small.width, small.height] = [spec.cellColumns, spec.cellRows];
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, plot.left, plot.top, plot.width, plot.height);
  if (spec.pitch === 1 && Math.min(plot.stepX, plot.stepY) > 8) drawGaps(spec, plot, context);
}

function drawGaps(spec, plot, context) {
  for (let column = 1; column < spec.columns; column++) context.clearRect(plot.left + column * plot.stepX - 0.5, plot.top, 1, plot.height);
  for (let row = 1; row < spec.rows; row++) context.clearRect(plot.left, plot.top + row * plot.stepY - 0.5, plot.width, 1);
}

// Estimated cells are hatched, so that nobody takes them for measured ones.
function drawHatch(spec, plot, context) {
  if (!spec.hatched) return;
  const [wide, high] = [plot.stepX - 1, plot.stepY - 1];
  [context.strokeStyle, context.lineWidth, context.globalAlpha] = [context.fillStyle, 1, 0.4];
  context.beginPath();
  bytes(spec.hatched).forEach((flag, index) => {
    if (!flag) return;
    const [x, y] = corner(spec, plot, Math.floor(index / spec.columns), index % spec.columns);
    for (let d = 4; d < wide + high; d += 7) {
      context.moveTo(x + Math.max(0, d - high), y + Math.min(d, high));
      context.lineTo(x + Math.min(d, wide), y + Math.max(0, d - wide));
    }
  });
  context.stroke();
  context.globalAlpha = 1;
}

function drawTexts(spec, plot, context) {
  if (!spec.texts.length || plot.stepX < 16 || plot.stepY < 10) return;
  context.font = FONT(Math.min(12, plot.stepY * 0.55));
  [context.textAlign, context.textBaseline] = ["center", "middle"];
  spec.texts.forEach((text, index) => {
    const [x, y] = corner(spec, plot, Math.floor(index / spec.columns), index % spec.columns);
    let shown = text;
    if (/^[+-]?\d/.test(text) && context.measureText(text).width > plot.stepX - 2) return;  // half a number misleads
    const end = plot.stepX > 30 ? "…" : "";  // in a narrow cell every letter counts
    while (shown.length > 1 + end.length && context.measureText(shown).width > plot.stepX - 2) {
      shown = shown.replace(/…$/, "").slice(0, -1) + end;
    }
    context.fillText(shown, x + plot.stepX / 2, y + plot.stepY / 2);
  });
}

// Labels at least `room` pixels apart.
function spaced(labels, step, room) {
  let last = -Infinity;
  return labels.filter(([at]) => {
    const fits = (at - last) * step >= room;
    if (fits) last = at;
    return fits;
  });
}

function drawAxes(spec, plot, context) {
  context.font = FONT(11);
  [context.textAlign, context.textBaseline] = ["right", "middle"];
  for (const [row, text] of spaced(spec.yLabels, plot.stepY, 12)) {
    const [, y] = corner(spec, plot, row, 0);
    context.fillText(text, plot.left - 6, y + plot.stepY / 2);
  }
  for (const [column, text] of spaced(spec.xLabels, plot.stepX, 13)) {
    context.save();
    context.translate(plot.left + (column + 0.5) * plot.stepX, plot.top + plot.height + 8);
    if (plot.slanted) context.rotate(-Math.PI / 3);
    [context.textAlign, context.textBaseline] = plot.slanted ? ["right", "middle"] : ["center", "top"];
    context.fillText(text, 0, 0);
    context.restore();
  }
  context.globalAlpha = 0.65;
  [context.textAlign, context.textBaseline] = ["center", "bottom"];
  if (spec.xTitle) context.fillText(spec.xTitle, plot.left + plot.width / 2, spec.height - 1);
  if (spec.yTitle) {
    context.save();
    context.translate(11, plot.top + plot.height / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(spec.yTitle, 0, 3);
    context.restore();
  }
  context.globalAlpha = 1;
}

function drawHeading(spec, plot, context) {
  [context.textAlign, context.textBaseline] = ["left", "top"];
  context.font = `600 ${FONT(13)}`;
  if (spec.title) context.fillText(spec.title, 2, 3);
  if (!spec.legend) return;
  const colors = bytes(spec.colors), right = plot.left + plot.width, width = Math.min(180, plot.width * 0.45), y = 21;
  for (let x = 0; x < width; x++) {
    const at = 4 * (1 + Math.round((254 * x) / width));
    context.save();
    context.fillStyle = `rgba(${colors[at]},${colors[at + 1]},${colors[at + 2]},${colors[at + 3] / 255})`;
    context.fillRect(right - width + x, y, 1.2, 8);
    context.restore();
  }
  const number = (value) => String(Number(value.toFixed(2)));
  context.font = FONT(11);
  context.textAlign = "right";
  context.fillText(spec.legend, right, 5);
  context.fillText(number(spec.high), right, y + 11);
  context.textAlign = "left";
  context.fillText(number(spec.low), right - width, y + 11);
  context.textAlign = "center";
  context.fillText(number((spec.low + spec.high) / 2), right - width / 2, y + 11);
}

function drawMarks(spec, plot, context, walked, color) {
  const side = (spec.pitch > 1 ? 1 - 1 / spec.pitch : 1);
  const around = (row, column, span, color, opacity, dash, grow) => {
    const [x, y] = corner(spec, plot, row, column);
    [context.strokeStyle, context.globalAlpha, context.lineWidth] = [color, opacity, 2];
    context.setLineDash(dash);
    context.strokeRect(x - grow, y + (spec.pitch > 1 ? plot.stepY * (1 - side) : 0) - grow, plot.stepX * (span - 1 + side) + 2 * grow, plot.stepY * side + 2 * grow);
    context.setLineDash([]);
    context.globalAlpha = 1;
  };
  for (const mark of spec.marks) {
    const whole = mark.column === null;
    const dash = mark.kind === "selected" || mark.kind === "row" ? [4, 3] : [];
    around(mark.row, whole ? 0 : mark.column, whole ? spec.columns : 1, mark.color, mark.opacity, dash, mark.kind === "selected" ? 2 : 0.5);
  }
  if (walked) around(walked.row, walked.column, 1, color, 1, [], 1);
}

function draw(root) {
  const { spec } = root.state;
  root.hidden = spec.hidden;
  if (spec.hidden) return;
  const canvas = root.querySelector("canvas"), context = canvas.getContext("2d");
  const width = root.clientWidth, ratio = window.devicePixelRatio || 1;
  if (!width) return;
  for (const each of [canvas, root.querySelector(".ce-over")]) {
    [each.width, each.height, each.style.height] = [width * ratio, spec.height * ratio, `${spec.height}px`];
  }
  context.scale(ratio, ratio);
  root.state.plot = paint(root, context, width);
  canvas.setAttribute("aria-label", `${spec.title || spec.legend || "heatmap"}: ${spec.rows} by ${spec.columns}. Arrow keys walk, Enter opens, Escape clears.`);
  canvas.dataset.plot = JSON.stringify({ ...root.state.plot, rows: spec.rows, columns: spec.columns, upwards: spec.upwards, pitch: spec.pitch });
  canvas.dataset.shown = `${spec.title} ${checksum(spec.cells)} ${spec.hatched ? bytes(spec.hatched).reduce((a, b) => a + b, 0) : 0} ${JSON.stringify(spec.marks)}`;
  drawLinked(root);
}

function paint(root, context, width) {
  const { spec, walked } = root.state;
  context.fillStyle = getComputedStyle(root).color;
  const plot = layoutOf(spec, context, width);
  drawCells(spec, plot, context);
  drawHatch(spec, plot, context);
  drawTexts(spec, plot, context);
  drawAxes(spec, plot, context);
  drawHeading(spec, plot, context);
  drawMarks(spec, plot, context, walked, getComputedStyle(root).color);
  return plot;
}

// A token that is pointed at in any attention heatmap, or locked, is drawn in all of them: destination rows, source columns.
function drawLinked(root) {
  const over = root.querySelector(".ce-over"), context = over.getContext("2d"), { spec, plot, linked } = root.state;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, over.width, over.height);
  const token = linked ?? spec.locked;
  over.dataset.linked = spec.tokens && token ? `${token.dest},${token.source ?? ""}` : "";
  if (!spec.tokens || !token || !plot) return;
  const ratio = window.devicePixelRatio || 1;
  context.scale(ratio, ratio);
  context.fillStyle = "rgba(34, 160, 90, 0.38)";
  const side = spec.pitch === 1 ? spec.rows : spec.cellRows / spec.rows - gap(spec);
  const [cellX, cellY] = [plot.stepX / spec.pitch, plot.stepY / spec.pitch];
  const dest = Math.floor(token.dest / spec.tokens), source = token.source === null ? null : Math.floor(token.source / spec.tokens);
  if (dest >= side) return;
  const tiles = spec.pitch === 1 ? [[0, 0]] : [...Array(spec.rows * spec.columns).keys()].map((n) => [Math.floor(n / spec.columns), n % spec.columns]);
  for (const [row, column] of tiles) {
    const [x, y] = spec.pitch === 1 ? [plot.left, plot.top] : corner(spec, plot, row, column);
    const top = y + (spec.pitch === 1 ? 0 : gap(spec) * cellY);
    context.fillRect(x, top + dest * cellY, cellX * (dest + 1), cellY);
    if (source !== null && source < side) context.fillRect(x + source * cellX, top + source * cellY, cellX, cellY * (side - source));
  }
}

// Blank cells between thumbnails.
function gap(spec) {
  return spec.pitch === 1 ? 0 : spec.pitch - spec.side;
}

function tokenAt(root, event) {
  const { spec, plot } = root.state, box = root.querySelector("canvas").getBoundingClientRect();
  const x = (event.clientX - box.left - plot.left) / (plot.stepX / spec.pitch), y = (event.clientY - box.top - plot.top) / (plot.stepY / spec.pitch);
  if (x < 0 || y < 0 || x >= spec.columns * spec.pitch || y >= spec.rows * spec.pitch) return null;
  const column = Math.floor(x) % spec.pitch, row = (Math.floor(y) % spec.pitch) - gap(spec);
  const [source, dest] = spec.pitch === 1 ? [Math.floor(x), Math.floor(y)] : [column, row];
  if (dest < 0 || source > dest) return null;
  return { dest: dest * spec.tokens, source: source * spec.tokens };
}

function point(token) {
  window.dispatchEvent(new CustomEvent("ce-token", { detail: token }));
}

function checksum(text) {
  let sum = 0;
  for (let index = 0; index < text.length; index += 7) sum = (sum * 31 + text.charCodeAt(index)) % 1000003;
  return sum;
}

function targetAt(root, event) {
  const { spec, plot } = root.state, box = root.querySelector("canvas").getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left - plot.left) / plot.stepX);
  const line = Math.floor((event.clientY - box.top - plot.top) / plot.stepY);
  if (column < 0 || column >= spec.columns || line < 0 || line >= spec.rows) return null;
  return { row: spec.upwards ? spec.rows - 1 - line : line, column };
}

function tell(root, target) {
  const tip = root.querySelector(".ce-tip"), { spec, plot } = root.state;
  const text = target && spec.hovers[target.row * spec.columns + target.column];
  tip.style.display = text ? "block" : "none";
  if (!text) return;
  tip.textContent = text;
  const [x, y] = corner(spec, plot, target.row, target.column);
  tip.style.left = `${Math.max(0, Math.min(x + plot.stepX + 6, root.clientWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${Math.max(0, y - tip.offsetHeight - 4)}px`;
}

const STEPS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

function walk(root, event) {
  const { spec, walked } = root.state;
  if (event.key === "Escape") {
    root.state.walked = null;
    root.state.send({ clear: true });
  } else if ((event.key === "Enter" || event.key === " ") && walked) root.state.send({ ...walked, collect: event.ctrlKey || event.metaKey });
  else if (STEPS[event.key]) {
    const [dx, dy] = STEPS[event.key], from = walked ?? { row: spec.upwards ? spec.rows - 1 : 0, column: 0 };
    const up = spec.upwards ? -dy : dy, inside = (value, size) => Math.max(0, Math.min(size - 1, value));
    root.state.walked = { row: inside(from.row + (walked ? up : 0), spec.rows), column: inside(from.column + (walked ? dx : 0), spec.columns) };
  } else return;
  event.preventDefault();
  draw(root);
  tell(root, root.state.walked);
  if (spec.tokens && spec.pitch === 1 && root.state.walked) point({ dest: root.state.walked.row * spec.tokens, source: root.state.walked.column * spec.tokens });
}

function listen(root, canvas) {
  canvas.addEventListener("mousemove", (event) => {
    tell(root, targetAt(root, event));
    if (root.state.spec.tokens) point(tokenAt(root, event));
  });
  const leave = () => {
    tell(root, null);
    if (root.state.spec.tokens) point(null);
  };
  canvas.addEventListener("mouseleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", (event) => walk(root, event));
  canvas.addEventListener("click", (event) => {
    const target = targetAt(root, event);
    if (target) root.state.send({ ...target, collect: event.ctrlKey || event.metaKey });
  });
  for (const button of root.querySelectorAll("button")) button.onclick = () => savePicture(root, button.dataset.kind, paint);
  root.follow = (event) => {
    root.state.linked = event.detail;
    if (root.state.spec.tokens) drawLinked(root);
  };
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".ce-map"), canvas = root.querySelector("canvas");
  root.state = { ...(root.state ?? { walked: null, linked: null }), spec: data, send: (target) => setTriggerValue("target", target) };
  if (!root.follow) listen(root, canvas);
  draw(root);
  window.addEventListener("ce-token", root.follow);
  root.observer ??= new ResizeObserver(() => draw(root));
  root.observer.observe(root);
  return () => {
    window.removeEventListener("ce-token", root.follow);
    root.observer?.disconnect();
    root.observer = null;
  };
}
