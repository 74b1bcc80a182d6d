"use strict";

const element = (id) => document.getElementById(id);

// --- contents: open beside the text, closed above it ---

if (window.matchMedia("(max-width: 70rem)").matches) document.querySelector("nav details").open = false;

// --- tables: up, down, as it was; what has no number stays last ---

function sortable(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];

  function order(column, direction) {
    const numeric = headings[column].classList.contains("number");
    const key = (row) => {
      const cell = row.cells[column];
      return numeric ? (cell.dataset.key === undefined ? null : Number(cell.dataset.key)) : cell.textContent || null;
    };
    const compare = (one, other) => {
      const [a, b] = [key(one), key(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      return direction * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
    };
    body.append(...(direction ? [...rows].sort(compare) : rows));
  }

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const next = { ascending: "descending", descending: null }[now];
      const wanted = next === undefined ? "ascending" : next;
      for (const other of headings) other.removeAttribute("aria-sort");
      if (wanted) heading.setAttribute("aria-sort", wanted);
      order(column, { ascending: 1, descending: -1 }[wanted] ?? 0);
    });
  });
}

document.querySelectorAll("main table").forEach(sortable);

// --- viewer ---

// The values of one slice, relative to the largest of the reference: inflate, join both bytes, add up the differences.
async function unpack(text, count, scale) {
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const values = new Float32Array(count);
  for (let i = 0, code = 0; i < count; i++) {
    code = (code + (bytes[i] << 8) + bytes[count + i]) & 0xffff;
    values[i] = code * scale;
  }
  return values;
}

function viewer(data) {
  const reference = data.images[0];
  const view = { slice: 0, network: "", low: 0, high: 1, zoom: 1, x: 0.5, y: 0.5 };
  const flicker = { pair: [0, 0], shown: 0, timer: null };
  const cache = new Map();
  const networks = [...new Set(data.images.map((image) => image.network).filter(Boolean))];
  let tiles = [];

  function values(image) {
    const key = `${data.images.indexOf(image)} ${view.slice}`;
    const scale = data.ceilings[view.slice] / data.levels;
    if (!cache.has(key)) cache.set(key, unpack(image.data[view.slice], data.width * data.height, scale));
    return cache.get(key);
  }

  // One grey picture at the size of the data; zoom and pan are left to drawImage.
  function picture(source, low, high) {
    const canvas = new OffscreenCanvas(data.width, data.height);
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(data.width, data.height);
    for (let i = 0; i < source.length; i++) {
      const grey = (255 * (source[i] - low)) / (high - low); // rounded and clipped where it is stored
      pixels.data[4 * i] = grey;
      pixels.data[4 * i + 1] = grey;
      pixels.data[4 * i + 2] = grey;
      pixels.data[4 * i + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  function draw(canvas, source) {
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * window.devicePixelRatio));
    canvas.height = Math.round((canvas.width * data.height) / data.width);
    const context = canvas.getContext("2d");
    const [width, height] = [data.width / view.zoom, data.height / view.zoom];
    context.imageSmoothingEnabled = false;
    context.drawImage(source, view.x * data.width - width / 2, view.y * data.height - height / 2, width, height,
      0, 0, canvas.width, canvas.height);
  }

  const name = (image) => `${image.label}, test slice ${data.numbers[view.slice]}`;

  function caption(target, image) {
    const dot = document.createElement("span");
    dot.className = "engine";
    dot.style.setProperty("--engine", image.colour);
    dot.textContent = image.label;
    const note = document.createElement("small");
    note.textContent = image.notes[view.slice] ?? "";
    target.replaceChildren(dot, note);
  }

  async function showTile({ image, canvas, error, text }) {
    const wanted = view.slice;
    const [own, truth] = await Promise.all([values(image), values(reference)]);
    if (wanted !== view.slice) return;
    draw(canvas, picture(own, view.low, view.high));
    canvas.setAttribute("aria-label", name(image));
    caption(text, image);
    if (!error) return;
    const difference = own.map((value, i) => data.error_gain * Math.abs(value - truth[i]));
    draw(error, picture(difference, 0, 1));
    error.setAttribute("aria-label", `${data.error_gain} times the error of ${name(image)}`);
  }

  async function showFlicker() {
    const image = data.images[flicker.pair[flicker.shown]];
    const wanted = view.slice;
    const own = await values(image);
    if (wanted !== view.slice || image !== data.images[flicker.pair[flicker.shown]]) return;
    const figure = element("flicker");
    const canvas = figure.querySelector("canvas");
    draw(canvas, picture(own, view.low, view.high));
    canvas.setAttribute("aria-label", name(image));
    caption(figure.querySelector("figcaption"), image);
  }

  const show = () => Promise.all([...tiles.map(showTile), showFlicker()]);
  const percent = (value) => `${Math.round(100 * value)} %`;

  function say() {
    element("viewer-status").textContent =
      `Test slice ${data.numbers[view.slice]}, zoom ${percent(view.zoom)}, grey from ${percent(view.low)} to ${percent(view.high)}`;
  }

  function zoom(factor, x = view.x, y = view.y) {
    const next = Math.min(16, Math.max(1, view.zoom * factor));
    // The point under the pointer stays where it is.
    move((x - view.x) * (1 - view.zoom / next), (y - view.y) * (1 - view.zoom / next), next);
  }

  function move(x, y, next = view.zoom) {
    view.zoom = next;
    const half = 0.5 / view.zoom;
    view.x = Math.min(1 - half, Math.max(half, view.x + x));
    view.y = Math.min(1 - half, Math.max(half, view.y + y));
    for (const stage of document.querySelectorAll(".stage")) stage.classList.toggle("zoomed", view.zoom > 1);
    element("zoom").textContent = percent(view.zoom);
    refresh();
  }

  // At most one drawing for each frame of the screen; aria-busy until the last one is done.
  let waiting = false;
  let drawing = null;
  function refresh() {
    if (waiting) return;
    waiting = true;
    element("viewer").ariaBusy = "true";
    requestAnimationFrame(async () => {
      waiting = false;
      say();
      const mine = (drawing = show());
      await mine;
      if (drawing === mine && !waiting) element("viewer").ariaBusy = "false";
    });
  }

  function grey() {
    const [level, width] = [Number(element("level").value), Number(element("width").value)];
    view.low = (level - width / 2) / 100;
    view.high = (level + width / 2) / 100;
    for (const id of ["level", "width"]) document.querySelector(`output[for=${id}]`).textContent = `${element(id).value} %`;
    refresh();
  }

  function reset() {
    element("level").value = 50;
    element("width").value = 100;
    grey();
    move(0, 0, 1);
  }

  function select(id, entries) {
    element(id).replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  }

  function layOut() {
    const shown = data.images.map((image, index) => [index, image])
      .filter(([, image]) => !image.network || image.network === view.network);
    tiles = shown.map(([, image]) => {
      const figure = document.createElement("figure");
      const text = document.createElement("figcaption");
      const canvases = (image === reference ? [0] : [0, 1]).map(() => document.createElement("canvas"));
      for (const canvas of canvases) canvas.setAttribute("role", "img");
      figure.append(text, ...canvases);
      if (image === reference) {
        const legend = document.createElement("p");
        legend.textContent = `Below the others: error × ${data.error_gain}`;
        figure.append(legend);
      }
      return { image, figure, text, canvas: canvases[0], error: canvases[1] };
    });
    element("tiles").replaceChildren(...tiles.map((tile) => tile.figure));
    const entries = shown.map(([index, image]) => [index, image.label]);
    select("first", entries);
    select("second", entries);
    const last = entries.length - 1;
    flicker.pair = [entries[Math.max(0, last - 1)][0], entries[last][0]];
    [element("first").value, element("second").value] = flicker.pair;
    refresh();
  }

  function swap() {
    flicker.shown = 1 - flicker.shown;
    showFlicker();
  }

  function play(on) {
    clearInterval(flicker.timer);
    // At most three changes a second: faster flashes can cause seizures (WCAG 2.3.1).
    flicker.timer = on ? setInterval(swap, 1000 / Number(element("pace").value)) : null;
    element("play").setAttribute("aria-pressed", String(on));
    element("play").textContent = on ? "Stop" : "Alternate";
  }

  function touch(stage) {
    const pointers = new Map();
    const relative = (canvas, event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    const inImage = ([x, y]) => [view.x + (x - 0.5) / view.zoom, view.y + (y - 0.5) / view.zoom];
    const distance = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]);

    stage.addEventListener("pointerdown", (event) => {
      if (event.target.tagName !== "CANVAS") return;
      event.target.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, relative(event.target, event));
    });
    stage.addEventListener("pointermove", (event) => {
      if (!pointers.has(event.pointerId)) return;
      const before = pointers.get(event.pointerId);
      const gap = pointers.size === 2 ? distance([...pointers.values()]) : 0;
      const now = relative(event.target, event);
      pointers.set(event.pointerId, now);
      const [x, y] = [now[0] - before[0], now[1] - before[1]];
      if (gap) {
        zoom(distance([...pointers.values()]) / gap, ...inImage(now));
      } else if (event.shiftKey) {
        element("level").value = Number(element("level").value) + 100 * y;
        element("width").value = Number(element("width").value) + 100 * x;
        grey();
      } else {
        move(-x / view.zoom, -y / view.zoom);
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
    }
    stage.addEventListener("wheel", (event) => {
      if (event.target.tagName !== "CANVAS" || !event.ctrlKey) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 300), ...inImage(relative(event.target, event)));
    }, { passive: false });
    stage.addEventListener("keydown", (event) => {
      const step = 0.1 / view.zoom;
      const action = {
        "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: reset, f: swap,
        ArrowLeft: () => move(-step, 0), ArrowRight: () => move(step, 0),
        ArrowUp: () => move(0, -step), ArrowDown: () => move(0, step),
      }[event.key];
      if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key.startsWith("Arrow") && view.zoom === 1) return; // the page scrolls
      event.preventDefault();
      action();
    });
  }

  const slice = element("slice");
  slice.max = data.numbers.length - 1;
  slice.value = 0;
  const chooseSlice = () => {
    view.slice = Number(slice.value);
    document.querySelector("output[for=slice]").textContent = data.numbers[view.slice];
    slice.setAttribute("aria-valuetext", `slice ${data.numbers[view.slice]}`);
    refresh();
  };
  slice.addEventListener("input", chooseSlice);
  for (const id of ["level", "width"]) element(id).addEventListener("input", grey);
  element("zoom-in").addEventListener("click", () => zoom(1.5));
  element("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  element("reset").addEventListener("click", reset);
  element("swap").addEventListener("click", swap);
  element("play").addEventListener("click", () => play(!flicker.timer));
  const pace = () => {
    document.querySelector("output[for=pace]").textContent = `${element("pace").value} / s`;
    if (flicker.timer) play(true);
  };
  element("pace").addEventListener("input", pace);
  ["first", "second"].forEach((id, index) => element(id).addEventListener("change", () => {
    flicker.pair[index] = Number(element(id).value);
    flicker.shown = index;
    showFlicker();
  }));
  select("network", networks.map((network) => [network, network]));
  element("network").closest("label").hidden = networks.length < 2;
  element("network").addEventListener("change", () => { view.network = element("network").value; layOut(); });
  document.querySelectorAll(".stage").forEach(touch);

  element("viewer").hidden = false;
  element("no-viewer").hidden = true;
  view.network = networks[0] ?? "";
  layOut();
  chooseSlice();
  grey();
  pace();
  new ResizeObserver(refresh).observe(element("tiles"));
}

const able = "DecompressionStream" in window && "OffscreenCanvas" in window;
if (element("slices") && able) viewer(JSON.parse(element("slices").textContent));
