"use strict";

// What the viewer of a report and the page of `bart-tf view` share.

const element = (id) => document.getElementById(id);
const percent = (value) => `${Math.round(100 * value)} %`;
const able = "DecompressionStream" in window && "OffscreenCanvas" in window;

async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// One grey picture at the size of the data; zoom and pan are left to drawImage. `colourOf` may return the colour
// of a value in place of its grey.
function greyPicture(width, height, values, low, high, colourOf = () => null) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const grey = (255 * (values[i] - low)) / (high - low); // rounded and clipped where it is stored
    const [red, green, blue] = colourOf(i) ?? [grey, grey, grey];
    pixels.data[4 * i] = red;
    pixels.data[4 * i + 1] = green;
    pixels.data[4 * i + 2] = blue;
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// At most one drawing for each frame of the screen; aria-busy until the last one is done.
function oncePerFrame(target, show) {
  let waiting = false;
  let drawing = null;
  return () => {
    if (waiting) return;
    waiting = true;
    target.ariaBusy = "true";
    requestAnimationFrame(async () => {
      waiting = false;
      const mine = (drawing = show());
      await mine;
      if (drawing === mine && !waiting) target.ariaBusy = "false";
    });
  };
}

// The part of all images that is shown: its centre, relative to their size, and the zoom.
class Viewport {
  constructor(changed) {
    Object.assign(this, { zoom: 1, x: 0.5, y: 0.5, changed });
  }

  zoomBy(factor, x = this.x, y = this.y) {
    const next = Math.min(16, Math.max(1, this.zoom * factor));
    // The point under the pointer stays where it is.
    this.move((x - this.x) * (1 - this.zoom / next), (y - this.y) * (1 - this.zoom / next), next);
  }

  move(x, y, next = this.zoom) {
    this.zoom = next;
    const half = 0.5 / this.zoom;
    this.x = Math.min(1 - half, Math.max(half, this.x + x));
    this.y = Math.min(1 - half, Math.max(half, this.y + y));
    for (const stage of document.querySelectorAll(".stage")) stage.classList.toggle("zoomed", this.zoom > 1);
    element("zoom").textContent = percent(this.zoom);
    this.changed();
  }

  reset() {
    this.move(0, 0, 1);
  }

  // `ratio` is the height of the canvas by its width.
  draw(canvas, source, ratio = source.height / source.width) {
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * window.devicePixelRatio));
    canvas.height = Math.max(1, Math.round(canvas.width * ratio));
    const context = canvas.getContext("2d");
    const [width, height] = [source.width / this.zoom, source.height / this.zoom];
    context.imageSmoothingEnabled = false;
    context.drawImage(source, this.x * source.width - width / 2, this.y * source.height - height / 2, width, height,
      0, 0, canvas.width, canvas.height);
  }

  // Where a pointer is, relative to the canvas, and the point of the image there.
  onCanvas(canvas, event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  inImage([x, y]) {
    return [this.x + (x - 0.5) / this.zoom, this.y + (y - 0.5) / this.zoom];
  }

  buttons() {
    element("zoom-in").addEventListener("click", () => this.zoomBy(1.5));
    element("zoom-out").addEventListener("click", () => this.zoomBy(1 / 1.5));
  }

  // Drag, pinch, wheel and keys on the images of a stage. `shiftDrag` gets the way of the pointer, relative to the
  // canvas; `keys` are further keys and what they do.
  attach(stage, { shiftDrag, keys }) {
    const pointers = new Map();
    const distance = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]);
    stage.addEventListener("pointerdown", (event) => {
      if (event.target.tagName !== "CANVAS") return;
      event.target.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, this.onCanvas(event.target, event));
    });
    stage.addEventListener("pointermove", (event) => {
      if (!pointers.has(event.pointerId)) return;
      const before = pointers.get(event.pointerId);
      const gap = pointers.size === 2 ? distance([...pointers.values()]) : 0;
      const now = this.onCanvas(event.target, event);
      pointers.set(event.pointerId, now);
      const [x, y] = [now[0] - before[0], now[1] - before[1]];
      if (gap) this.zoomBy(distance([...pointers.values()]) / gap, ...this.inImage(now));
      else if (event.shiftKey) shiftDrag(x, y);
      else this.move(-x / this.zoom, -y / this.zoom);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
    }
    stage.addEventListener("wheel", (event) => {
      if (event.target.tagName !== "CANVAS" || !event.ctrlKey) return;
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 300), ...this.inImage(this.onCanvas(event.target, event)));
    }, { passive: false });
    stage.addEventListener("keydown", (event) => {
      const step = 0.1 / this.zoom;
      const action = {
        "+": () => this.zoomBy(1.5), "=": () => this.zoomBy(1.5), "-": () => this.zoomBy(1 / 1.5),
        ArrowLeft: () => this.move(-step, 0), ArrowRight: () => this.move(step, 0),
        ArrowUp: () => this.move(0, -step), ArrowDown: () => this.move(0, step),
        ...keys,
      }[event.key];
      if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key.startsWith("Arrow") && !keys[event.key] && this.zoom === 1) return; // the page scrolls
      event.preventDefault();
      action();
    });
  }
}
