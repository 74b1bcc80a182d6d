// The viewer of a report; images.js has what it shares with the page of `bart-tf view`.

// The values of one slice, relative to the largest of the reference: join both bytes, add up the differences.
async function unpack(text, count, scale) {
  const bytes = await inflate(text);
  const values = new Float32Array(count);
  for (let i = 0, code = 0; i < count; i++) {
    code = (code + (bytes[i] << 8) + bytes[count + i]) & 0xffff;
    values[i] = code * scale;
  }
  return values;
}

function viewer(data) {
  const reference = data.images[0];
  const view = { slice: 0, network: "", low: 0, high: 1 };
  const viewport = new Viewport(() => refresh());
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

  const picture = (source, low, high) => greyPicture(data.width, data.height, source, low, high);
  const draw = (canvas, source) => viewport.draw(canvas, source);

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

  function say() {
    element("viewer-status").textContent =
      `Test slice ${data.numbers[view.slice]}, zoom ${percent(viewport.zoom)}, grey from ${percent(view.low)} to ${percent(view.high)}`;
  }

  const refresh = oncePerFrame(element("viewer"), () => {
    say();
    return show();
  });

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
    viewport.reset();
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

  function shiftDrag(x, y) {
    element("level").value = Number(element("level").value) + 100 * y;
    element("width").value = Number(element("width").value) + 100 * x;
    grey();
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
  viewport.buttons();
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
  for (const stage of document.querySelectorAll(".stage")) viewport.attach(stage, { shiftDrag, keys: { 0: reset, f: swap } });

  element("viewer").hidden = false;
  element("no-viewer").hidden = true;
  view.network = networks[0] ?? "";
  layOut();
  chooseSlice();
  grey();
  pace();
  new ResizeObserver(refresh).observe(element("tiles"));
}

if (element("slices") && able) viewer(JSON.parse(element("slices").textContent));
