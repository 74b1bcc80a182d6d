// The page of `bart-tf view`; images.js has what it shares with the viewer of a report.

const NAN = [0xd5, 0x5e, 0x00];
const INFINITE = [0x56, 0xb4, 0xe9];
const FLOOR_DB = -80;
// Height of an image by its width; pixels of longer ones are no squares, so that each dimension can be seen.
const [FLATTEST, TALLEST] = [1 / 8, 2];
const heightByWidth = (array) => Math.max(FLATTEST, Math.min(TALLEST, array.rows / array.columns));
const decibel = (value, largest) => 20 * Math.log10(value / largest);
const spread = (array, largest) => [-(largest || 1), largest || 1];
// What an image shows of complex values: the number, and the range from black to white.
const COMPONENTS = {
  magnitude: { of: (re, im) => Math.hypot(re, im), range: (array, largest) => [0, largest || 1], unit: "" },
  "log magnitude": {
    of: (re, im, largest) => (re || im ? decibel(Math.hypot(re, im), largest || 1) : FLOOR_DB),
    range: () => [FLOOR_DB, 0], unit: " dB",
  },
  phase: { of: (re, im) => Math.atan2(im, re), range: () => [-Math.PI, Math.PI], unit: " rad" },
  real: { of: (re) => re, range: spread, unit: "" },
  imaginary: { of: (re, im) => im, range: spread, unit: "" },
};

const isNan = (re, im) => Number.isNaN(re) || Number.isNaN(im);
const number = (value) => {
  if (!Number.isFinite(value)) return String(value).replace("Infinity", "inf");
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(4) : String(Number(value.toPrecision(6)));
};
// As many digits as tell single-precision numbers apart.
const exact = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(9))) : number(value));

// Byte 0 of all numbers, then byte 1, ..., as `compare.report.viewer_arrays.encode` packs them.
async function floats(text) {
  const bytes = await inflate(text);
  const count = bytes.length / 8;
  const joined = new Uint8Array(bytes.length);
  for (let place = 0; place < 8; place++) {
    for (let i = 0; i < count; i++) joined[8 * i + place] = bytes[place * count + i];
  }
  return new Float32Array(joined.buffer);
}

function colourPicture(array, plane, values, low, high) {
  return greyPicture(array.columns, array.rows, values, low, high, (i) => {
    const [re, im] = [plane[2 * i], plane[2 * i + 1]];
    if (isNan(re, im)) return NAN;
    return Number.isFinite(re) && Number.isFinite(im) ? null : INFINITE;
  });
}

function make(name, attributes = {}, ...children) {
  const made = name in { svg: 1, polyline: 1, line: 1, text: 1 }
    ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function dot(array) {
  const made = make("span", { class: "engine" }, array.label);
  made.style.setProperty("--engine", array.colour);
  return made;
}

function viewArrays(data) {
  const position = Object.fromEntries(data.loops.map((loop) => [loop.name, 0]));
  const pixel = { row: 0.5, column: 0.5, hover: null }; // relative to the size of an image
  const viewport = new Viewport(() => refresh());
  const cache = new Map();
  const tiles = [];
  const hidden = new Set(); // arrays whose line is not in the profile
  const value = (id) => element(id).value;
  const largestOf = (array) =>
    element("shared").checked ? Math.max(...data.arrays.map((other) => other.largest)) : array.largest;
  const isLine = (array) => array.rows === 1 || array.columns === 1;
  const at = (array, place = pixel.hover ?? pixel) => [
    Math.min(array.rows - 1, Math.floor(place.row * array.rows)),
    Math.min(array.columns - 1, Math.floor(place.column * array.columns)),
  ];

  const numbers = (array) => array.loops.map((name) => data.loops.find((loop) => loop.name === name).numbers[position[name]]);
  const place = (array) => array.loops.map((name, i) => `${name} ${numbers(array)[i]}`).join(", ");

  // The values of the plane that is shown, real and imaginary parts in turn; null where an array has none there.
  function plane(array) {
    const text = array.planes[numbers(array).join(",")];
    if (text === undefined) return Promise.resolve(null);
    const key = `${array.label} ${numbers(array)}`;
    if (!cache.has(key)) {
      if (cache.size > 64) cache.clear();
      cache.set(key, floats(text));
    }
    return cache.get(key);
  }

  function component(array, values, name, largest) {
    const { of } = COMPONENTS[name];
    const shown = new Float32Array(values.length / 2);
    for (let i = 0; i < shown.length; i++) shown[i] = of(values[2 * i], values[2 * i + 1], largest);
    return shown;
  }

  function window_([low, high]) {
    const [level, width] = [Number(value("level")) / 100, Number(value("width")) / 100];
    return [low + (level - width / 2) * (high - low), low + (level + width / 2) * (high - low)];
  }

  function rangeText([low, high], unit) {
    return `${number(low)} to ${number(high)}${unit}`;
  }

  function describe(array, values) {
    const notes = [];
    let [nan, infinite, zero] = [0, 0, true];
    for (let i = 0; i < values.length; i += 2) {
      if (isNan(values[i], values[i + 1])) nan++;
      else if (!Number.isFinite(values[i]) || !Number.isFinite(values[i + 1])) infinite++;
      zero &&= values[i] === 0 && values[i + 1] === 0;
    }
    if (zero) notes.push("all values are 0");
    if (nan) notes.push(`${nan} NaN`);
    if (infinite) notes.push(`${infinite} infinite`);
    return notes.join(", ");
  }

  async function showTile(tile) {
    const { array, canvas, range, note } = tile;
    const wanted = JSON.stringify(position);
    const values = await plane(array);
    if (wanted !== JSON.stringify(position)) return;
    const name = tile.select.value;
    canvas.hidden = values === null || isLine(array);
    note.textContent = values === null ? `nothing at ${place(array)}: ${array.dims}` : describe(array, values);
    if (values === null) { range.textContent = ""; return; }
    const bounds = COMPONENTS[name].range(array, largestOf(array));
    const [low, high] = window_(bounds);
    const what = [name, place(array)].filter(Boolean).join(", ");
    range.textContent = `${what}; black to white: ${rangeText([low, high], COMPONENTS[name].unit)}`;
    if (isLine(array)) {
      range.textContent = array.rows * array.columns > 1 ? "one-dimensional: see the profile below" : "one value: see the table below";
      return;
    }
    const shown = component(array, values, name, largestOf(array));
    viewport.draw(canvas, colourPicture(array, values, shown, low, high), heightByWidth(array));
    cross(canvas, array);
    canvas.setAttribute("aria-label", [`${array.label}, ${name}`, place(array), note.textContent].filter(Boolean).join(", "));
  }

  function cross(canvas, array) {
    const context = canvas.getContext("2d");
    const [row, column] = at(array, pixel);
    const centre = (index, size, middle, length) => ((index + 0.5) / size - middle) * viewport.zoom * length + length / 2;
    const x = centre(column, array.columns, viewport.x, canvas.width);
    const y = centre(row, array.rows, viewport.y, canvas.height);
    context.lineWidth = Math.max(1, window.devicePixelRatio);
    for (const [style, shift] of [["#000a", 1], ["#fffc", 0]]) {
      context.strokeStyle = style;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + shift + 4 * dx, y + shift + 4 * dy);
        context.lineTo(x + shift + 12 * dx, y + shift + 12 * dy);
      }
      context.stroke();
    }
  }

  async function showValues() {
    const rows = await Promise.all(data.arrays.map(async (array) => {
      const values = await plane(array);
      const [row, column] = at(array);
      const where = `${array.plane[0]} ${row}, ${array.plane[1]} ${column}`;
      const i = 2 * (row * array.columns + column);
      const [re, im] = values ? [values[i], values[i + 1]] : [];
      const cells = values ? [exact(re), exact(im), exact(Math.fround(Math.hypot(re, im))), number(Math.atan2(im, re))]
        : ["n/a", "n/a", "n/a", "n/a"];
      return make("tr", {}, make("td", {}, dot(array)), make("td", { class: "pixel" }, [where, place(array)].filter(Boolean).join(", ")),
        ...cells.map((cell) => make("td", { class: "number" }, cell)));
    }));
    element("values").replaceChildren(...rows);
  }

  // The values along one dimension of the plane, through the pixel.
  async function line(array, along, name) {
    const values = await plane(array);
    const axis = array.plane.indexOf(along);
    const length = [array.rows, array.columns][axis] ?? 0;
    if (!values || length < 2) return null;
    const [row, column] = at(array, pixel);
    const shown = component(array, values, name, array.largest);
    return Array.from({ length }, (_, i) => shown[axis ? row * array.columns + i : i * array.columns + column]);
  }

  // With six colours, the shift after twelve arrays makes 24 different lines.
  const dashes = (number) => ["none", "6 4", "1 4", "9 4 1 4"][(number + Math.floor(number / 12)) % 4];
  const stroke = (array) => ({ stroke: array.colour, "stroke-linecap": "round",
    "stroke-dasharray": dashes(data.arrays.indexOf(array)) });

  async function showProfile() {
    const [along, name] = [value("along"), value("profile-of")];
    const lines = await Promise.all(data.arrays.map((array) => line(array, along, name)));
    const drawn = data.arrays.map((array, i) => [array, lines[i]]).filter(([array, values]) => values && !hidden.has(array));
    const finite = drawn.flatMap(([, values]) => values.filter(Number.isFinite));
    const [height, left, top, bottom] = [260, 70, 10, 34];
    const width = Math.max(240, element("profile").clientWidth); // letters keep their size on a phone
    const longest = Math.max(2, ...drawn.map(([, values]) => values.length));
    let [low, high] = finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
    if (low === high) [low, high] = low ? [low - Math.abs(low) / 2, high + Math.abs(high) / 2] : [-1, 1];
    const x = (i) => left + ((width - left) * i) / (longest - 1);
    const y = (v) => top + ((height - top - bottom) * (high - v)) / (high - low);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `${name} along ${along} of ${drawn.map(([array]) => array.label).join(", ") || "no array"}, from ${number(low)} to ${number(high)}` });
    for (const v of [low, (low + high) / 2, high]) {
      svg.append(make("line", { x1: left, x2: width, y1: y(v), y2: y(v) }),
        make("text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, String(Number(v.toPrecision(3)))));
    }
    for (const i of [0, Math.floor((longest - 1) / 2), longest - 1]) {
      svg.append(make("text", { x: x(i), y: height - 12, "text-anchor": i === 0 ? "start" : i === longest - 1 ? "end" : "middle" }, `${along} ${i}`));
    }
    drawn.forEach(([array, values]) => {
      // Values that are not finite leave a gap.
      let points = [];
      const end = () => {
        if (points.length === 1) points.push(points[0]);
        if (points.length) svg.append(make("polyline", { points: points.join(" "), ...stroke(array) }));
        points = [];
      };
      values.forEach((v, i) => (Number.isFinite(v) ? points.push(`${x(i)},${y(v)}`) : end()));
      end();
    });
    const first = drawn.find(([array]) => !isLine(array));
    if (first) {
      const here = x(at(first[0], pixel)[first[0].plane.indexOf(along)]);
      svg.append(make("line", { class: "here", x1: here, x2: here, y1: top, y2: height - bottom }));
    }
    const without = data.arrays.filter((array, i) => !lines[i]).map((array) => array.label);
    element("no-line").textContent = without.length ? `Without a line along ${along} here: ${without.join(", ")}.` : "";
    element("profile").replaceChildren(svg);
  }

  async function showDifference() {
    if (data.arrays.length < 2) return;
    const [first, second] = [data.arrays[value("first")], data.arrays[value("second")]];
    const wanted = JSON.stringify([position, value("first"), value("second"), value("difference-of")]);
    const [one, other] = await Promise.all([plane(first), plane(second)]);
    if (wanted !== JSON.stringify([position, value("first"), value("second"), value("difference-of")])) return;
    const canvas = element("difference-image");
    const say = (text) => { element("difference-text").textContent = text; };
    const size = (array) => `${array.plane[0]} ${array.rows}, ${array.plane[1]} ${array.columns}`;
    const same = size(first) === size(second);
    canvas.hidden = !same || !one || !other || isLine(first);
    if (!same) return say(`No difference: the images of ${first.label} have ${size(first)}, those of ${second.label} ${size(second)}.`);
    if (!one || !other) return say(`No difference: ${(one ? second : first).label} has nothing at this position.`);
    const complex = value("difference-of") === "complex";
    const shown = new Float32Array(one.length / 2);
    const marks = new Float32Array(one.length);
    let [largest, error, energy, left] = [0, 0, 0, 0];
    for (let i = 0; i < shown.length; i++) {
      const [re, im] = [one[2 * i] - other[2 * i], one[2 * i + 1] - other[2 * i + 1]];
      const magnitudes = Math.hypot(other[2 * i], other[2 * i + 1]);
      shown[i] = complex ? Math.hypot(re, im) : Math.abs(Math.hypot(one[2 * i], one[2 * i + 1]) - magnitudes);
      marks[2 * i] = shown[i];
      if (!Number.isFinite(shown[i])) { left++; continue; }
      largest = Math.max(largest, shown[i]);
      error += shown[i] ** 2;
      energy += magnitudes ** 2;
    }
    if (!canvas.hidden) {
      viewport.draw(canvas, colourPicture(first, marks, shown, 0, largest || 1), heightByWidth(first));
      canvas.setAttribute("aria-label", `${complex ? "magnitude of the difference" : "difference of the magnitudes"} of ${first.label} and ${second.label}`);
    }
    const relative = energy ? `; its norm is ${number(Math.sqrt(error / energy))} of that of ${second.label}` : "";
    const without = !left ? "" : left === 1 ? "; 1 value that is not finite is left out" : `; ${left} values that are not finite are left out`;
    return say(largest || left ? `Black to white: 0 to ${number(largest)}${relative}${without}.` : "The images are the same.");
  }

  function say() {
    const where = data.loops.map((loop) => `${loop.name} ${loop.numbers[position[loop.name]]}`);
    element("viewer-status").textContent = [...where, `zoom ${percent(viewport.zoom)}`].join(", ");
  }

  const refresh = oncePerFrame(element("viewer"), () => {
    say();
    return Promise.all([...tiles.map(showTile), showValues(), showProfile(), showDifference()]);
  });

  function outputs() {
    for (const id of ["level", "width"]) document.querySelector(`output[for=${id}]`).textContent = `${value(id)} %`;
    refresh();
  }

  function shiftDrag(x, y) {
    element("level").value = Number(value("level")) + 100 * y;
    element("width").value = Number(value("width")) + 100 * x;
    outputs();
  }

  function reset() {
    element("level").value = 50;
    element("width").value = 100;
    outputs();
    viewport.reset();
  }

  const options = (id, entries) => element(id).replaceChildren(...entries.map(([text, key]) => new Option(text, key)));
  // The pixel of the largest image, whose sliders have the most steps.
  const largest = data.arrays.reduce((a, b) => (b.rows * b.columns > a.rows * a.columns ? b : a));

  function choosePixel() {
    pixel.row = (Number(value("row")) + 0.5) / largest.rows;
    pixel.column = (Number(value("column")) + 0.5) / largest.columns;
    for (const id of ["row", "column"]) document.querySelector(`output[for=${id}]`).textContent = value(id);
    refresh();
  }

  function pointAt(stage) {
    const inside = (event) => {
      const [column, row] = viewport.inImage(viewport.onCanvas(event.target, event));
      return event.target.tagName === "CANVAS" && row >= 0 && row < 1 && column >= 0 && column < 1 ? { row, column } : null;
    };
    stage.addEventListener("pointermove", (event) => {
      if (event.buttons || event.pointerType === "touch") return;
      pixel.hover = inside(event);
      showValues();
    });
    stage.addEventListener("pointerleave", () => { pixel.hover = null; showValues(); });
    stage.addEventListener("click", (event) => {
      const chosen = inside(event);
      if (!chosen || event.shiftKey) return;
      [element("row").value, element("column").value] = at(largest, chosen);
      choosePixel();
    });
  }

  for (const loop of data.loops) {
    const input = make("input", { type: "range", min: 0, max: loop.numbers.length - 1, step: 1, id: `loop-${loop.name}` });
    const output = make("output", { for: input.id });
    const show = () => {
      position[loop.name] = Number(input.value);
      output.textContent = `${loop.numbers[position[loop.name]]} of 0 to ${loop.size - 1}`;
      input.setAttribute("aria-valuetext", `${loop.name} ${loop.numbers[position[loop.name]]}`);
      refresh();
    };
    input.value = 0;
    input.addEventListener("input", show);
    element("loops").append(make("label", {}, `${loop.name} `, input, " ", output));
    show();
  }
  element("loops").hidden = !data.loops.length;

  for (const array of data.arrays) {
    const select = make("select", { "aria-label": `What the image of ${array.label} shows` });
    select.append(...Object.keys(COMPONENTS).map((name) => new Option(name, name)));
    select.value = /ksp/i.test(array.label) ? "log magnitude" : "magnitude";
    const tile = { array, select, canvas: make("canvas", { role: "img", "aria-label": array.label }), range: make("p"), note: make("p") };
    const magnitudes = array.smallest === null ? "no finite value" : `magnitude ${rangeText([array.smallest, array.largest], "")}`;
    const counts = [[array.nan, "NaN"], [array.infinite, "infinite"]].filter(([count]) => count).map(([count, name]) => `, ${count} ${name}`);
    const dims = make("small", {}, array.dims, make("br"), magnitudes, ...counts);
    tile.figure = make("figure", {}, make("figcaption", {}, dot(array), dims, select), tile.canvas, tile.range, tile.note);
    select.addEventListener("change", refresh);
    tiles.push(tile);
  }
  element("tiles").replaceChildren(...tiles.map((tile) => tile.figure));

  for (const array of data.arrays) {
    const input = make("input", { type: "checkbox" });
    input.checked = true;
    input.addEventListener("change", () => { hidden[input.checked ? "delete" : "add"](array); refresh(); });
    const sample = make("svg", { class: "sample", viewBox: "0 0 30 10", "aria-hidden": "true" });
    sample.append(make("polyline", { points: "1,5 29,5", ...stroke(array) }));
    element("lines").append(make("label", {}, input, sample, array.label));
  }

  options("along", [...new Set(data.arrays.flatMap((array) => (isLine(array) ? [array.plane[Number(array.rows === 1)]] : array.plane)))].map((name) => [name, name]));
  // Of a few rows of many values, the rows say more than the columns.
  if (largest.rows / largest.columns < FLATTEST) element("along").value = largest.plane[1];
  options("profile-of", Object.keys(COMPONENTS).map((name) => [name, name]));
  for (const id of ["first", "second"]) options(id, data.arrays.map((array, index) => [array.label, index]));
  element("second").value = Math.min(1, data.arrays.length - 1);
  [element("row-name").textContent, element("column-name").textContent] = largest.plane;
  element("row").max = largest.rows - 1;
  element("column").max = largest.columns - 1;
  element("row").value = Math.floor(largest.rows / 2);
  element("column").value = Math.floor(largest.columns / 2);
  for (const id of ["row", "column"]) {
    element(id).addEventListener("input", choosePixel);
    element(id).closest("label").hidden = largest[`${id}s`] === 1;
  }
  for (const id of ["along", "profile-of", "first", "second", "difference-of", "shared"]) element(id).addEventListener("change", refresh);
  for (const id of ["level", "width"]) element(id).addEventListener("input", outputs);
  element("reset").addEventListener("click", reset);
  viewport.buttons();
  for (const stage of document.querySelectorAll(".stage")) {
    viewport.attach(stage, { shiftDrag, keys: { 0: reset } });
    pointAt(stage);
  }

  element("viewer").hidden = false;
  element("no-viewer").hidden = true;
  outputs();
  choosePixel();
  new ResizeObserver(refresh).observe(element("tiles"));
}

if (able) viewArrays(JSON.parse(element("arrays").textContent));
