// The ruler and the outlines above a film.

const YELLOW = "rgb(255 225 0)";
const RIM = "rgb(20 15 0 / 85%)";

// Length of a line on the stored grid, in mm where the size of a pixel is known.
export function lengthOf({ from, to }, { spacing, measured_by: measuredBy, pose }) {
  const [right, down] = [to[0] - from[0], to[1] - from[1]];
  if (!spacing) {
    return `${Math.hypot(right, down * pose.aspect).toFixed(1)} pixels`;
  }
  const length = Math.hypot(right * spacing[1], down * spacing[0]);
  return `${length.toFixed(1)} mm${measuredBy === "ImagerPixelSpacing" ? " at the detector" : ""}`;
}

// Draws in device pixels; `ruler` and `outlines` are in places of the stored grid.
export function drawMarks(canvas, view, facts, ruler, outlines) {
  const context = canvas.getContext("2d");
  const ratio = window.devicePixelRatio;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.font = `${14 * ratio}px system-ui, sans-serif`;
  context.lineJoin = "round";
  const labels = [];
  for (const { finding, points } of outlines ?? []) {
    const places = points.map((point) => view.toCanvas(...point));
    path(context, places, true, ratio);
    const top = places.reduce((best, place) => (place[1] < best[1] ? place : best));
    labels.push({ finding, x: top[0], y: top[1] - 8 * ratio });
  }
  for (const { finding, x, y } of apart(labels, 18 * ratio)) {
    words(context, finding, x, y, ratio);
  }
  if (ruler) {
    const ends = [view.toCanvas(...ruler.from), view.toCanvas(...ruler.to)];
    path(context, ends, false, ratio);
    for (const [x, y] of ends) {
      context.fillStyle = YELLOW;
      context.fillRect(x - 3 * ratio, y - 3 * ratio, 6 * ratio, 6 * ratio);
    }
    words(context, lengthOf(ruler, facts), ends[1][0] + 10 * ratio, ends[1][1], ratio);
  }
}

// Moves labels down until none lies on another.
function apart(labels, pitch) {
  let last = -Infinity;
  return labels
    .sort((one, other) => one.y - other.y)
    .map((label) => {
      last = Math.max(label.y, last + pitch);
      return { ...label, y: last };
    });
}

function path(context, places, isClosed, ratio) {
  context.beginPath();
  places.forEach(([x, y], number) => (number === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
  if (isClosed) {
    context.closePath();
  }
  context.strokeStyle = RIM;
  context.lineWidth = 4 * ratio;
  context.stroke();
  context.strokeStyle = YELLOW;
  context.lineWidth = 1.5 * ratio;
  context.stroke();
}

function words(context, text, x, y, ratio) {
  const inside = Math.min(x, context.canvas.width - context.measureText(text).width - 6 * ratio);
  context.strokeStyle = RIM;
  context.lineWidth = 4 * ratio;
  context.strokeText(text, inside, Math.max(16 * ratio, y));
  context.fillStyle = YELLOW;
  context.fillText(text, inside, Math.max(16 * ratio, y));
}
