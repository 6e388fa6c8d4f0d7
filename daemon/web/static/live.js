// Says how many changes there are since the page was made, and keeps the ages in it true.
// The page itself is left as it is: the reader decides when to load it again.

const EVERY = 10_000;
const place = document.querySelector("[data-changes]");
let ahead = 0; // of the server's clock before this one, in ms

function age(milliseconds) {
  const seconds = Math.max(0, milliseconds / 1000);
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * length) return `${Math.round(seconds / length)} ${unit} ago`;
  }
  return `${Math.round(seconds)} s ago`;
}

function showAges() {
  for (const one of document.querySelectorAll("[data-since]")) {
    one.textContent = age(Date.now() + ahead - Date.parse(one.dataset.since));
  }
}

function say(text) {
  if (place.textContent !== text) place.textContent = text;
}

function offer(number, healthChanged) {
  const words = healthChanged ? "The health changed" : `${number >= 1000 ? "1000 or more" : number} change${number === 1 ? "" : "s"}`;
  let button = place.querySelector("button");
  if (!button) {
    button = document.createElement("button");
    button.addEventListener("click", () => location.reload());
    place.replaceChildren(button);
  }
  const text = `${words}: refresh`;
  if (button.textContent !== text) button.textContent = text;
}

async function ask() {
  if (document.hidden) return;
  let answer;
  try {
    answer = await fetch(place.dataset.changes, { headers: { Accept: "application/json" } });
  } catch {
    say("The node does not answer.");
    return;
  }
  if (answer.status === 401 || answer.status === 403) {
    say("Your session has ended: refresh to log in again.");
    return;
  }
  if (!answer.ok) {
    say("The node does not answer.");
    return;
  }
  const found = await answer.json();
  ahead = Date.parse(found.at) - Date.now();
  showAges();
  if (found.health_changed || found.changes) offer(found.changes, found.health_changed);
  else if (!place.querySelector("button")) say("");
}

if (place) {
  setInterval(ask, EVERY);
  document.addEventListener("visibilitychange", ask);
}
