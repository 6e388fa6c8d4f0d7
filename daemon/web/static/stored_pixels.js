// The stored pixels of a film, as the node sends them: their facts in JSON, then the pixels.

const KINDS = { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array, rgb: Uint8Array };
const SMALLEST_LEVEL = 256;

// Loads a film. `progress` is called with the share that has come.
export async function loadFilm(url, progress) {
  const answer = await fetch(url, { headers: { Accept: "application/octet-stream, application/json" } });
  if (!answer.ok) {
    throw new Error(await reasonOf(answer));
  }
  const size = Number(answer.headers.get("X-Uncompressed-Length"));
  const bytes = new Uint8Array(size);
  let place = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) {
      break;
    }
    if (place + value.length > size) {
      throw new Error("the node sent more than it said");
    }
    bytes.set(value, place);
    place += value.length;
    progress(place / size);
  }
  if (place < size) {
    throw new Error("the connection ended before the last pixel: load the page again");
  }
  return parsed(bytes);
}

async function reasonOf(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error;
  } catch {
    return `the node answered ${answer.status}`;
  }
}

// The facts are behind their length; the pixels begin at a multiple of eight bytes.
export function parsed(bytes) {
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const numbers = new KINDS[facts.kind](bytes.buffer, 4 + length);
  if (facts.grey) {
    const grey = facts.grey;
    grey.levels = bytesOf(grey.levels);
    grey.modality = grey.modality && new Float32Array(bytesOf(grey.modality).buffer);
    for (const table of grey.tables) {
      table.levels = bytesOf(table.levels);
    }
  }
  return { facts, numbers };
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

// The image in full size, then in halves of it: each pixel the mean of four.
export function pyramidOf({ facts, numbers }) {
  const planes = facts.kind === "rgb" ? 3 : 1;
  const levels = [{ columns: facts.columns, rows: facts.rows, numbers }];
  let last = levels[0];
  while (Math.max(last.columns, last.rows) > SMALLEST_LEVEL) {
    last = halved(last, planes);
    levels.push(last);
  }
  return { levels, planes };
}

function halved({ columns, rows, numbers }, planes) {
  const width = Math.max(1, columns >> 1);
  const height = Math.max(1, rows >> 1);
  const half = new numbers.constructor(width * height * planes);
  const right = columns > 1 ? planes : 0;
  const down = rows > 1 ? columns * planes : 0;
  let target = 0;
  for (let row = 0; row < height; row += 1) {
    let place = 2 * row * columns * planes;
    for (let column = 0; column < width; column += 1, place += planes + right) {
      for (let plane = 0; plane < planes; plane += 1, target += 1) {
        const at = place + plane;
        half[target] = (numbers[at] + numbers[at + right] + numbers[at + down] + numbers[at + down + right] + 2) >> 2;
      }
    }
  }
  return { columns: width, rows: height, numbers: half };
}
