// The viewer of a film: window and level on the stored pixels, zoom, pan, turns, values, a ruler.

import { FilmView } from "./film_view.js";
import { drawMarks } from "./film_marks.js";
import { loadFilm, pyramidOf } from "./stored_pixels.js";
import { greyLevels, imageValues, LEAST_WIDTH, windowOf } from "./window_level.js";

const OPAQUE_BLACK = 0xff000000;
const STEP = 1.25;
// A drag over so many pixels of the page goes through all values.
const DRAG_LENGTH = 800;
const KEYS = {
  "+": "in", "=": "in", "-": "out", 0: "fit", 1: "one", i: "invert", l: "left", r: "right", h: "flip", v: "flop",
  a: "auto", f: "full", d: "analysed", o: "outlines", w: "window", p: "pan", m: "ruler", Escape: "clear",
};

class Viewer {
  constructor(section) {
    this.section = section;
    this.find = (name) => section.querySelector(`[data-${name}]`);
    this.stage = this.find("stage");
    this.canvas = this.find("canvas");
    this.marks = this.find("marks");
    this.preset = this.find("preset");
    this.pointers = new Map();
    this.tool = "window";
    this.isInverted = false;
    this.ruler = null;
    this.outlines = null;
    this.areOutlinesShown = false;
    this.isDue = false;
    section.hidden = false;
    this.load();
  }

  async load() {
    const words = this.find("load-words");
    const bar = this.find("progress");
    try {
      const film = await loadFilm(this.section.dataset.pixels, (share) => {
        bar.value = share;
      });
      this.start(film);
      this.find("load").hidden = true;
    } catch (error) {
      bar.hidden = true;
      words.textContent = `The film cannot be shown: ${error.message}`;
      this.section.dataset.state = "failed";
    }
  }

  start({ facts, numbers }) {
    this.facts = facts;
    this.numbers = numbers;
    this.pyramid = pyramidOf({ facts, numbers });
    this.grey = facts.grey ?? plainGrey();
    this.values = imageValues(this.grey);
    this.view = new FilmView(facts);
    this.addPresets();
    this.choose("analysed");
    this.say();
    this.listen();
    this.resize();
    new ResizeObserver(() => this.resize()).observe(this.stage);
    this.section.dataset.state = "ready";
  }

  // The ways to show the film, by name.
  addPresets() {
    const { grey, facts } = this;
    this.presets = new Map([["analysed", ["As analysed", { levels: grey.levels, ...(grey.analysed && windowBy(grey.analysed)) }]]]);
    if (facts.grey) {
      grey.windows.forEach((window, number) => {
        const { name, centre, width } = window;
        this.presets.set(`window-${number}`, [`${name}: ${short(centre)} / ${short(width)}`, windowBy(window)]);
      });
      grey.tables.forEach((table, number) => {
        this.presets.set(`table-${number}`, [table.name, { table: table.levels }]);
      });
    }
    this.presets.set("auto", ["Automatic (98 % of the pixels)", windowOf(grey.auto)]);
    this.presets.set("full", ["Full range", windowOf(grey.full)]);
    this.presets.set("own", ["By hand", null]);
    for (const [value, [words]] of this.presets) {
      this.preset.append(new Option(words, value));
    }
  }

  choose(name) {
    const [, shown] = this.presets.get(name) ?? [];
    if (!shown) {
      return;
    }
    this.shown = shown;
    this.preset.value = name;
    this.recolour();
  }

  // The window in use; where a table is in use, the window that a drag starts from.
  get window() {
    if (this.shown.name) {
      return this.shown;
    }
    const { tables, windows, auto, full } = this.grey;
    if (tables.length === 0) {
      return windowOf(full);
    }
    return windows.length > 0 ? windowBy(windows[0]) : windowOf(auto);
  }

  setWindow(centre, width) {
    const { name } = this.window;
    if (!Number.isFinite(centre) || !Number.isFinite(width)) {
      return;
    }
    this.shown = { name, centre, width: Math.max(width, LEAST_WIDTH[name]) };
    this.preset.value = "own";
    this.recolour();
  }

  changeWindow(right, up) {
    const { centre, width } = this.window;
    const range = Math.max(1, this.grey.full[1] - this.grey.full[0]);
    this.setWindow(centre + (up * range) / DRAG_LENGTH, width + (right * range) / DRAG_LENGTH);
  }

  recolour() {
    const levels = greyLevels(this.grey, this.values, this.shown, this.isInverted);
    this.colours = Uint32Array.from(levels, (level) => (OPAQUE_BLACK | (level << 16) | (level << 8) | level) >>> 0);
    const { centre, width } = this.window;
    const isWindow = this.shown.name !== undefined;
    this.find("centre").value = isWindow ? rounded(centre) : "";
    this.find("width").value = isWindow ? rounded(width) : "";
    this.section.querySelector('[data-act="invert"]').setAttribute("aria-pressed", String(this.isInverted));
    this.draw();
  }

  resize() {
    const ratio = window.devicePixelRatio;
    const [width, height] = [Math.max(1, Math.round(this.stage.clientWidth * ratio)), Math.max(1, Math.round(this.stage.clientHeight * ratio))];
    if (this.image?.width !== width || this.image?.height !== height) {
      for (const canvas of [this.canvas, this.marks]) {
        canvas.width = width;
        canvas.height = height;
      }
      this.image = new ImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.view.resize(width, height);
    }
    this.draw();
  }

  // Draws once before the next frame, however often it is called.
  draw() {
    if (this.isDue || !this.image) {
      return;
    }
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.view.draw(this.pixels, this.pyramid, this.grey.low, this.colours, OPAQUE_BLACK);
      this.canvas.getContext("2d").putImageData(this.image, 0, 0);
      drawMarks(this.marks, this.view, this.facts, this.ruler, this.areOutlinesShown ? this.outlines : null);
      this.sayPose();
    });
  }

  sayPose() {
    const { view } = this;
    const isAsRead =
      view.transposed === view.first.transposed &&
      view.columnsReversed === view.first.columns_reversed &&
      view.rowsReversed === view.first.rows_reversed;
    const isMirrored = (pose) => pose.transposed !== (pose.columns !== pose.rows);
    const now = { transposed: view.transposed, columns: view.columnsReversed, rows: view.rowsReversed };
    const first = { transposed: view.first.transposed, columns: view.first.columns_reversed, rows: view.first.rows_reversed };
    const turned = this.find("turned");
    turned.hidden = isAsRead;
    turned.textContent = isMirrored(now) === isMirrored(first) ? "Turned" : "Mirrored: left and right are exchanged";
  }

  say() {
    const { facts } = this;
    const parts = [`${facts.columns} × ${facts.rows} pixels (columns × rows)`, `${facts.photometric}, ${facts.bits} bits`];
    if (facts.spacing) {
      const [height, width] = facts.spacing;
      const sides = height === width ? `${short(width)} mm` : `${short(width)} × ${short(height)} mm`;
      parts.push(`a pixel is ${sides} by ${facts.measured_by}${facts.measured_by === "ImagerPixelSpacing" ? ", at the detector: in the patient lengths are shorter" : ""}`);
    } else {
      parts.push("the header gives no size of a pixel");
    }
    const [first] = this.grey.windows;
    if (first && first.function !== "LINEAR") {
      parts.push(`the windows of the header are ${first.function}`);
    }
    this.find("about").textContent = `${parts.join("; ")}. All stored pixels are shown: a shutter of the header is not applied.`;
  }

  listen() {
    const { canvas } = this;
    this.preset.addEventListener("change", () => this.choose(this.preset.value));
    for (const name of ["centre", "width"]) {
      this.find(name).addEventListener("change", () => {
        const { centre, width } = this.window;
        const typed = (field, otherwise) => (this.find(field).value === "" ? otherwise : Number(this.find(field).value));
        this.setWindow(typed("centre", centre), typed("width", width));
      });
    }
    for (const button of this.section.querySelectorAll("[data-act]")) {
      button.addEventListener("click", () => this.act(button.dataset.act));
    }
    for (const button of this.section.querySelectorAll("button[data-tool]")) {
      button.addEventListener("click", () => this.act(button.dataset.tool));
    }
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => this.onDown(event));
    canvas.addEventListener("pointermove", (event) => this.onMove(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointerleave", () => this.read(null));
    this.offerOutlines();
  }

  async offerOutlines() {
    try {
      const answer = await fetch(this.section.dataset.contours);
      const found = answer.ok ? (await answer.json()).outlines : [];
      this.outlines = found.map(({ finding, points }) => ({
        finding: finding.replaceAll("_", " "),
        points: points.map(([x, y]) => fromUpright(x, y, this.facts)),
      }));
    } catch {
      this.outlines = [];
    }
    this.section.querySelector('[data-act="outlines"]').hidden = this.outlines.length === 0;
  }

  act(name) {
    const { view } = this;
    const middle = [view.width / 2, view.height / 2];
    const acts = {
      in: () => view.zoomAt(STEP, ...middle),
      out: () => view.zoomAt(1 / STEP, ...middle),
      fit: () => view.fit(),
      one: () => view.scaleTo(1),
      left: () => view.turn(false),
      right: () => view.turn(true),
      flip: () => view.flip(false),
      flop: () => view.flip(true),
      auto: () => this.choose("auto"),
      full: () => this.choose("full"),
      analysed: () => this.choose("analysed"),
      window: () => this.use("window"),
      pan: () => this.use("pan"),
      ruler: () => this.use("ruler"),
      clear: () => this.clearRuler(),
      invert: () => {
        this.isInverted = !this.isInverted;
        this.recolour();
      },
      outlines: () => this.showOutlines(),
      reset: () => this.reset(),
    };
    acts[name]();
    this.draw();
  }

  use(tool) {
    this.tool = tool;
    this.stage.dataset.tool = tool;
    for (const button of this.section.querySelectorAll("button[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    }
  }

  showOutlines() {
    this.areOutlinesShown = !this.areOutlinesShown && Boolean(this.outlines?.length);
    this.section.querySelector('[data-act="outlines"]').setAttribute("aria-pressed", String(this.areOutlinesShown));
  }

  clearRuler() {
    this.ruler = null;
  }

  reset() {
    this.isInverted = false;
    this.ruler = null;
    this.view.reset();
    this.choose("analysed");
  }

  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const arrow = arrows[event.key];
    const act = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
    if (arrow && event.shiftKey) {
      this.changeWindow(8 * arrow[0], -8 * arrow[1]);
    } else if (arrow) {
      this.view.move((-arrow[0] * this.view.width) / 10, (-arrow[1] * this.view.height) / 10);
      this.draw();
    } else if (act) {
      this.act(act);
    } else {
      return;
    }
    event.preventDefault();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.view.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  onWheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 24 : 1;
    this.view.zoomAt(Math.exp(-event.deltaY * lines * 0.002), ...this.place(event));
    this.draw();
  }

  onDown(event) {
    const place = this.place(event);
    this.pointers.set(event.pointerId, { place, pans: event.button === 2 || event.button === 1 });
    this.canvas.setPointerCapture(event.pointerId);
    if (this.tool === "ruler" && this.pointers.size === 1 && event.button === 0) {
      const point = this.view.toStored(...place);
      this.ruler = { from: point, to: point };
      this.draw();
    }
  }

  onMove(event) {
    const now = this.place(event);
    this.read(now);
    const held = this.pointers.get(event.pointerId);
    if (!held) {
      return;
    }
    const [right, down] = [now[0] - held.place[0], now[1] - held.place[1]];
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1].place;
      const before = Math.hypot(held.place[0] - other[0], held.place[1] - other[1]);
      if (before > 0) {
        const after = Math.hypot(now[0] - other[0], now[1] - other[1]);
        this.view.zoomAt(after / before, (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      }
      this.view.move(right / 2, down / 2);
    } else if (held.pans || this.tool === "pan") {
      this.view.move(right, down);
    } else if (this.tool === "ruler") {
      this.ruler = { ...this.ruler, to: this.view.toStored(...now) };
    } else {
      const ratio = window.devicePixelRatio;
      this.changeWindow(right / ratio, -down / ratio);
    }
    held.place = now;
    this.draw();
  }

  // Says the value under the pointer, and its place.
  read(place) {
    const said = this.find("read");
    const [x, y] = place ? this.view.toStored(...place).map(Math.floor) : [-1, -1];
    if (x < 0 || y < 0 || x >= this.facts.columns || y >= this.facts.rows) {
      said.textContent = "\u00a0";
      return;
    }
    const parts = [`column ${x}, row ${y}`];
    if (this.facts.spacing) {
      const [height, width] = this.facts.spacing;
      parts.push(`${((x + 0.5) * width).toFixed(1)} mm from the left, ${((y + 0.5) * height).toFixed(1)} mm from the top of the stored film`);
    }
    parts.push(this.valueAt(x, y));
    said.textContent = parts.join(" · ");
  }

  valueAt(x, y) {
    const at = y * this.facts.columns + x;
    if (!this.facts.grey) {
      return `red ${this.numbers[3 * at]}, green ${this.numbers[3 * at + 1]}, blue ${this.numbers[3 * at + 2]}`;
    }
    const { low, offset, step, unit, slope, intercept, modality } = this.grey;
    const number = this.numbers[at];
    const stored = offset + step * number;
    const value = short(this.values[number - low]);
    const isSame = slope === 1 && intercept === 0 && !modality;
    return isSame ? `value ${stored}` : `value ${value}${unit ? ` ${unit}` : ""} (stored ${stored})`;
  }
}

// Colours are shown as they are: a window then applies to each of their 256 values.
function plainGrey() {
  const levels = Uint8Array.from({ length: 256 }, (_, value) => value);
  return {
    low: 0, high: 255, offset: 0, step: 1, slope: 1, intercept: 0, unit: "", modality: null, analysed: null,
    windows: [], tables: [], levels, auto: [0, 255], full: [0, 255], padding: null, inverted: false,
  };
}

function windowBy({ function: name, centre, width }) {
  return { name, centre, width };
}

// The place on the stored grid of a point in shares of the upright film.
function fromUpright(x, y, { pose, rows, columns }) {
  const u = pose.columns_reversed ? 1 - x : x;
  const v = pose.rows_reversed ? 1 - y : y;
  return pose.transposed ? [v * columns, u * rows] : [u * columns, v * rows];
}

function rounded(value) {
  return String(Math.round(value * 100) / 100);
}

function short(value) {
  return String(Number(value.toPrecision(6)));
}

for (const section of document.querySelectorAll("[data-viewer]")) {
  new Viewer(section);
}
