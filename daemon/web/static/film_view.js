// The place of a film on a canvas: pose, zoom and pan, and the pixels that are drawn there.

export const MOST_SCALE = 64;

// A view of `facts.rows` x `facts.columns` stored pixels on a canvas of `width` x `height` device
// pixels. `pose` is a transposition, then reversals; a stored pixel is `aspect` times as high as wide.
// A point of the upright film is (u, v), in widths of a stored pixel; `scale` are device pixels for
// one of these.
export class FilmView {
  constructor(facts) {
    this.rows = facts.rows;
    this.columns = facts.columns;
    this.aspect = facts.pose.aspect;
    this.first = facts.pose;
    this.width = 1;
    this.height = 1;
    this.reset();
  }

  reset() {
    this.transposed = this.first.transposed;
    this.columnsReversed = this.first.columns_reversed;
    this.rowsReversed = this.first.rows_reversed;
    this.fit();
  }

  // Width and height of the film as it is shown.
  get extent() {
    const [across, down] = [this.columns, this.rows * this.aspect];
    return this.transposed ? [down, across] : [across, down];
  }

  get fitScale() {
    const [across, down] = this.extent;
    return Math.min(this.width / across, this.height / down);
  }

  resize(width, height) {
    const isFitted = Math.abs(this.scale - this.fitScale) < 1e-9;
    this.left += (width - this.width) / 2;
    this.top += (height - this.height) / 2;
    this.width = width;
    this.height = height;
    if (isFitted) {
      this.fit();
    } else {
      this.settle();
    }
  }

  fit() {
    this.scaleTo(this.fitScale);
  }

  // Shows the film in a scale, its middle in the middle.
  scaleTo(scale) {
    const [across, down] = this.extent;
    this.scale = scale;
    this.left = (this.width - across * scale) / 2;
    this.top = (this.height - down * scale) / 2;
  }

  zoomAt(factor, x, y) {
    const least = Math.min(this.fitScale, 1) / 2;
    const scale = Math.min(MOST_SCALE, Math.max(least, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.settle();
  }

  move(right, down) {
    this.left += right;
    this.top += down;
    this.settle();
  }

  // Keeps a part of the film in sight.
  settle() {
    const [across, down] = this.extent;
    const kept = Math.min(60, this.width / 4, this.height / 4);
    this.left = Math.min(this.width - kept, Math.max(kept - across * this.scale, this.left));
    this.top = Math.min(this.height - kept, Math.max(kept - down * this.scale, this.top));
  }

  // A quarter turn clockwise is a transposition, then a reversal of the columns.
  turn(clockwise) {
    const [columns, rows] = [this.columnsReversed, this.rowsReversed];
    this.transposed = !this.transposed;
    this.columnsReversed = clockwise ? !rows : rows;
    this.rowsReversed = clockwise ? columns : !columns;
    this.fit();
  }

  flip(isVertical) {
    if (isVertical) {
      this.rowsReversed = !this.rowsReversed;
    } else {
      this.columnsReversed = !this.columnsReversed;
    }
    this.fit();
  }

  // The place [x, y] on the stored grid (the middle of the first pixel is 0.5, 0.5) of a point of
  // the canvas.
  toStored(x, y) {
    const [across, down] = this.extent;
    let u = (x - this.left) / this.scale;
    let v = (y - this.top) / this.scale;
    u = this.columnsReversed ? across - u : u;
    v = this.rowsReversed ? down - v : v;
    return this.transposed ? [v, u / this.aspect] : [u, v / this.aspect];
  }

  toCanvas(x, y) {
    const [across, down] = this.extent;
    let [u, v] = this.transposed ? [y * this.aspect, x] : [x, y * this.aspect];
    u = this.columnsReversed ? across - u : u;
    v = this.rowsReversed ? down - v : v;
    return [this.left + u * this.scale, this.top + v * this.scale];
  }

  // Draws the film into `pixels`, a Uint32Array of the canvas, by the colours of its numbers.
  draw(pixels, { levels, planes }, low, colours, background) {
    pixels.fill(background);
    const finest = Math.min(this.scale, this.scale * this.aspect);
    const number = Math.min(levels.length - 1, Math.max(0, Math.floor(Math.log2(1 / finest))));
    const { columns, rows, numbers } = levels[number];
    const across = this.places(true, columns, rows);
    const down = this.places(false, columns, rows);
    for (let row = down.first; row < down.end; row += 1) {
      const start = down.offsets[row];
      let target = row * this.width + across.first;
      if (planes === 1) {
        for (let column = across.first; column < across.end; column += 1, target += 1) {
          pixels[target] = colours[numbers[start + across.offsets[column]] - low];
        }
      } else {
        for (let column = across.first; column < across.end; column += 1, target += 1) {
          const place = 3 * (start + across.offsets[column]);
          pixels[target] =
            (colours[numbers[place]] & 0xff) |
            (colours[numbers[place + 1]] & 0xff00) |
            (colours[numbers[place + 2]] & 0xff0000) |
            0xff000000;
        }
      }
    }
  }

  // For each column (or row) of the canvas, the offset of its pixels in an image of this size.
  places(isAcross, columns, rows) {
    const size = isAcross ? this.width : this.height;
    const offsets = new Int32Array(size);
    let [first, end] = [size, 0];
    for (let place = 0; place < size; place += 1) {
      const [x, y] = isAcross ? this.toStored(place + 0.5, 0) : this.toStored(0, place + 0.5);
      const isColumn = isAcross !== this.transposed;
      const share = isColumn ? x / this.columns : y / this.rows;
      if (share >= 0 && share < 1) {
        const at = Math.floor(share * (isColumn ? columns : rows));
        offsets[place] = isColumn ? at : at * columns;
        first = Math.min(first, place);
        end = place + 1;
      }
    }
    return { offsets, first, end };
  }
}
