// The panel of a film: overlay, opacity, contour, brightness, contrast, zoom and pan.
// Without this script the page shows the picture, and links to each overlay.

const MOST_ZOOM = 16;
const STEP = 1.25;
const MOST_TRIES = 5;
const BUSY = 503;

class FilmPanel {
  constructor(section) {
    this.section = section;
    this.stage = section.querySelector("[data-stage]");
    this.layers = section.querySelector("[data-layers]");
    this.picture = section.querySelector("[data-picture]");
    this.wait = section.querySelector("[data-wait]");
    this.choices = [...section.querySelectorAll("[data-overlay]")];
    this.opacity = section.querySelector("[data-opacity]");
    this.contour = section.querySelector("[data-contour]");
    this.brightness = section.querySelector("[data-brightness]");
    this.contrast = section.querySelector("[data-contrast]");
    this.toggleButton = section.querySelector('[data-act="toggle"]');
    this.pointers = new Map();
    this.zoom = 1;
    this.x = 0;
    this.y = 0;
    this.isOriginal = false;
    this.overlay = document.createElement("img");
    this.overlay.alt = "";
    this.overlay.hidden = true;
    this.layers.append(this.overlay);
    section.querySelector("[data-tools]").hidden = false;
    section.querySelector("[data-links]").hidden = true;
    this.stage.tabIndex = 0;
    this.stage.setAttribute("role", "group");
    this.stage.setAttribute("aria-label", `${section.getAttribute("aria-label")}: zoom with plus and minus, move with the arrows`);
    this.listen();
    reload(this.picture, this.wait);
    reload(this.overlay, this.wait);
    this.show();
  }

  listen() {
    for (const choice of this.choices) {
      choice.addEventListener("change", () => {
        this.isOriginal = false;
        this.show();
      });
    }
    for (const field of [this.opacity, this.brightness, this.contrast]) {
      field?.addEventListener("input", () => this.show());
    }
    this.contour?.addEventListener("change", () => this.show());
    for (const button of this.section.querySelectorAll("[data-act]")) {
      button.addEventListener("click", () => this.act(button.dataset.act));
    }
    this.stage.addEventListener("keydown", (event) => this.onKey(event));
    this.stage.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.stage.addEventListener("pointerdown", (event) => this.onDown(event));
    this.stage.addEventListener("pointermove", (event) => this.onMove(event));
    for (const name of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    this.stage.addEventListener("dblclick", (event) => this.zoomAt(this.zoom > 1 ? 1 / this.zoom : 2.5, event.clientX, event.clientY));
    new ResizeObserver(() => this.place()).observe(this.stage);
  }

  get chosen() {
    return this.choices.find((choice) => choice.checked && choice.value !== "");
  }

  // Draws what the controls say.
  show() {
    const chosen = this.isOriginal ? undefined : this.chosen;
    this.overlay.hidden = chosen === undefined;
    if (chosen !== undefined) {
      const source = this.contour.checked ? chosen.dataset.lined : chosen.dataset.plain;
      if (this.overlay.getAttribute("src") !== source) {
        this.overlay.src = source;
        this.overlay.alt = `Overlay of ${chosen.value.replaceAll("_", " ")}`;
      }
      this.overlay.style.opacity = String(this.opacity.value / 100);
    }
    this.picture.style.filter = `brightness(${this.brightness.value}%) contrast(${this.contrast.value}%)`;
    for (const name of ["opacity", "brightness", "contrast"]) {
      const said = this.section.querySelector(`[data-${name}-value]`);
      if (said) {
        said.textContent = `${this[name].value} %`;
      }
    }
    this.toggleButton?.setAttribute("aria-pressed", String(this.isOriginal));
  }

  act(name) {
    const box = this.stage.getBoundingClientRect();
    const middle = [box.left + box.width / 2, box.top + box.height / 2];
    if (name === "in") {
      this.zoomAt(STEP, ...middle);
    } else if (name === "out") {
      this.zoomAt(1 / STEP, ...middle);
    } else if (name === "toggle") {
      this.isOriginal = !this.isOriginal;
      this.show();
    } else if (name === "reset") {
      this.reset();
    }
  }

  reset() {
    this.zoom = 1;
    this.x = this.y = 0;
    this.isOriginal = false;
    for (const field of [this.opacity, this.brightness, this.contrast]) {
      if (field) {
        field.value = field.defaultValue;
      }
    }
    if (this.contour) {
      this.contour.checked = true;
    }
    for (const choice of this.choices) {
      choice.checked = choice.defaultChecked;
    }
    this.place();
    this.show();
  }

  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target !== this.stage) {
      return;
    }
    const far = this.stage.clientWidth / 8;
    const moves = { ArrowLeft: [far, 0], ArrowRight: [-far, 0], ArrowUp: [0, far], ArrowDown: [0, -far] };
    const acts = { "+": "in", "=": "in", "-": "out", "0": "reset", o: "toggle", O: "toggle" };
    if (event.key in moves && this.zoom > 1) {
      this.move(...moves[event.key]);
    } else if (event.key in acts) {
      this.act(acts[event.key]);
    } else if (event.key.toLowerCase() === "c" && this.contour) {
      this.contour.checked = !this.contour.checked;
      this.show();
    } else {
      return;
    }
    event.preventDefault();
  }

  // The wheel scrolls the page, unless the film is in focus or zoomed by two fingers on a pad.
  onWheel(event) {
    if (!event.ctrlKey && document.activeElement !== this.stage) {
      return;
    }
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 24 : 1;
    this.zoomAt(Math.exp(-event.deltaY * lines * 0.002), event.clientX, event.clientY);
  }

  onDown(event) {
    if (event.pointerType === "mouse" && event.button !== 0) {
      return;
    }
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.zoom > 1 || this.pointers.size > 1) {
      this.stage.setPointerCapture(event.pointerId);
    }
  }

  onMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) {
      return;
    }
    const now = [event.clientX, event.clientY];
    if (this.pointers.size === 1) {
      this.move(now[0] - before[0], now[1] - before[1]);
    } else if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const apart = distance(before, other);
      if (apart > 0) {
        this.zoomAt(distance(now, other) / apart, (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      }
    }
    this.pointers.set(event.pointerId, now);
  }

  move(right, down) {
    this.x += right;
    this.y += down;
    this.place();
  }

  zoomAt(factor, clientX, clientY) {
    const box = this.stage.getBoundingClientRect();
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    const [x, y] = [clientX - box.left, clientY - box.top];
    this.x = x - ((x - this.x) * zoom) / this.zoom;
    this.y = y - ((y - this.y) * zoom) / this.zoom;
    this.zoom = zoom;
    this.place();
  }

  // Keeps the film within the stage, and shows it there.
  place() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    this.x = Math.min(0, Math.max(width * (1 - this.zoom), this.x));
    this.y = Math.min(0, Math.max(height * (1 - this.zoom), this.y));
    this.layers.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
    this.stage.toggleAttribute("data-zoomed", this.zoom > 1);
    this.stage.toggleAttribute("data-sharp", this.zoom > 4);
  }
}

function distance(one, other) {
  return Math.hypot(one[0] - other[0], one[1] - other[1]);
}

// Asks again for a picture that the node was too busy to make. The answer is then a picture of the
// reason in words, so that only its status tells.
function reload(image, wait) {
  let tries = 0;
  const again = (words) => {
    tries += 1;
    wait.hidden = false;
    wait.textContent = tries > MOST_TRIES ? words : "The picture is being made …";
    const source = image.getAttribute("src");
    if (source && tries <= MOST_TRIES) {
      setTimeout(() => image.setAttribute("src", source), 1500 * tries);
    }
  };
  image.addEventListener("error", () => again("The picture cannot be loaded."));
  image.addEventListener("load", () => {
    if (performance.getEntriesByName(image.currentSrc).at(-1)?.responseStatus === BUSY) {
      again("The node is busy: load the page again later.");
    } else {
      tries = 0;
      wait.hidden = true;
    }
  });
}

for (const section of document.querySelectorAll("[data-film]")) {
  new FilmPanel(section);
}
