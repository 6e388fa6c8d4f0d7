// From the numbers of pixels to grey levels: Modality LUT or rescale, window, polarity (PS3.4 N.2).

export const FUNCTIONS = {
  // PS3.3 C.11.2.1.2.1
  LINEAR(value, centre, width) {
    if (width <= 1) {
      return value > centre - 0.5 ? 1 : 0;
    }
    return clip((value - (centre - 0.5)) / (width - 1) + 0.5);
  },
  // PS3.3 C.11.2.1.3.2
  LINEAR_EXACT(value, centre, width) {
    return clip((value - centre) / width + 0.5);
  },
  // PS3.3 C.11.2.1.3.1
  SIGMOID(value, centre, width) {
    const slope = Math.min(60, Math.max(-60, (-4 * (value - centre)) / width));
    return 1 / (1 + Math.exp(slope));
  },
};

export const LEAST_WIDTH = { LINEAR: 1, LINEAR_EXACT: 0.001, SIGMOID: 0.001 };

function clip(share) {
  return Math.min(1, Math.max(0, share));
}

// Rounds a half to the even neighbour, as the picture of the analysis is rounded.
export function rounded(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest === 0.5) {
    return below % 2 === 0 ? below : below + 1;
  }
  return rest < 0.5 ? below : below + 1;
}

// The value of the image for each number of a pixel from `low` to `high`.
export function imageValues(grey) {
  const values = new Float64Array(grey.high - grey.low + 1);
  for (let place = 0; place < values.length; place += 1) {
    const stored = grey.offset + grey.step * (grey.low + place);
    values[place] = grey.modality ? grey.modality[place] : stored * grey.slope + grey.intercept;
  }
  return values;
}

// The grey level of each number from `low` to `high`. `shown` is {levels}: a table that has the
// polarity of the image already; {table}: one that has not; or {centre, width, name} of a window.
export function greyLevels(grey, values, shown, isInverted) {
  const levels = new Uint8Array(values.length);
  const flips = isInverted !== (shown.levels ? false : grey.inverted);
  const compute = FUNCTIONS[shown.name];
  for (let place = 0; place < levels.length; place += 1) {
    const level = shown.levels?.[place] ?? shown.table?.[place];
    if (level === undefined) {
      const share = compute(values[place], shown.centre, shown.width);
      levels[place] = rounded(255 * (flips ? 1 - share : share));
    } else {
      levels[place] = flips ? 255 - level : level;
    }
  }
  if (grey.padding) {
    levels.fill(0, grey.padding[0] - grey.low, grey.padding[1] - grey.low + 1);
  }
  return levels;
}

// The window that runs from the first to the last of two values.
export function windowOf(range, name = "LINEAR") {
  const [low, high] = range;
  const extra = name === "LINEAR" ? 1 : 0;
  return { name, centre: (low + high + extra) / 2, width: Math.max(high - low + extra, LEAST_WIDTH[name]) };
}
