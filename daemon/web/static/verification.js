// Shows the progress of a verification of the audit trail, and leads to its result.

const place = document.querySelector("[data-verification]");
const EVERY = 1000;

async function ask() {
  let view;
  try {
    const answer = await fetch(place.dataset.verification, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    view = await answer.json();
  } catch {
    return;
  }
  if (view.state !== "running") {
    clearInterval(timer);
    place.querySelector("[role=status]").textContent = "The verification has ended.";
    place.querySelector("a").textContent = "Show the result";
    place.querySelector("progress").remove();
    return;
  }
  place.querySelector("[role=status]").textContent = `${view.rows} of ${view.total} rows verified …`;
  const bar = place.querySelector("progress");
  bar.max = Math.max(view.total, 1);
  bar.value = view.rows;
}

// A link to the fragment that the page already shows would load nothing.
function load(event) {
  event.preventDefault();
  location.reload();
}

const timer = place && place.dataset.state === "running" ? setInterval(ask, EVERY) : 0;
if (timer) place.querySelector("a").addEventListener("click", load);
