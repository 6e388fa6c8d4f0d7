"use strict";
/* The list of films: filter, order and pages, over the data in the page. Without this script the
   first films stand in the page as they are. */
(() => {
  const data = JSON.parse(document.getElementById("films-data").textContent);
  const list = document.getElementById("film-list");
  const form = document.getElementById("film-form");
  const count = document.getElementById("film-count");
  const buttons = { back: document.getElementById("film-back"), on: document.getElementById("film-on") };
  const SIZE = 50;
  const plain = data.labels.map((label) => label.replaceAll("_", " "));
  let shown = data.films;
  let first = 0;

  const element = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text) made.textContent = text;
    return made;
  };
  const path = (name) => name.split("/").map(encodeURIComponent).join("/");
  const words = (film, place) => `${plain[place]} ${(film[5][place] / 1000).toFixed(2)}`;
  const odds = (p) => {
    const inside = Math.min(Math.max(p, 1e-4), 1 - 1e-4);
    return Math.log(inside / (1 - inside));
  };
  const excess = (film, place) => odds(film[5][place] / 1000) - odds(data.thresholds[place]);

  const picture = (film, tile, text, link) => {
    const box = element(link ? "a" : "span", "picture");
    if (link) box.href = link;
    const image = element("img", `at-${tile}`);
    image.loading = "lazy";
    image.alt = "";
    image.src = path(film[1]);
    box.append(image, element("span", "words", text));
    return box;
  };

  const row = (film) => {
    const [name, thumbnail, start, drawn, others, p] = film;
    const item = element("li", "film");
    item.append(element("h3", "", name));
    const pictures = element("div", "pictures");
    if (thumbnail) pictures.append(picture(film, 0, "film", ""));
    drawn.forEach((place, i) => {
      pictures.append(picture(film, i + 1, words(film, place), path(`${start}${data.labels[place]}.png`)));
    });
    others.forEach((place) => pictures.append(element("span", "other", words(film, place))));
    if (!drawn.length && !others.length) {
      const nearest = p.reduce((best, _, i) => (excess(film, i) > excess(film, best) ? i : best), 0);
      pictures.append(element("span", "other none", `no finding; nearest to its threshold: ${words(film, nearest)}`));
    }
    item.append(pictures);
    return item;
  };

  const draw = () => {
    list.replaceChildren(...shown.slice(first, first + SIZE).map(row));
    const last = Math.min(first + SIZE, shown.length);
    count.textContent = shown.length
      ? `${(first + 1).toLocaleString("en-GB")} to ${last.toLocaleString("en-GB")} of ${shown.length.toLocaleString("en-GB")} films`
      : "no film fits";
    buttons.back.disabled = first === 0;
    buttons.on.disabled = last === shown.length;
  };

  const choose = () => {
    const text = form.elements.name.value.trim().toLowerCase();
    const finding = form.elements.finding.value;
    const place = data.labels.indexOf(finding);
    const fits = (film) => {
      if (text && !film[0].toLowerCase().includes(text)) return false;
      if (finding === "any") return film[3].length + film[4].length > 0;
      if (finding === "none") return film[3].length + film[4].length === 0;
      return place < 0 || film[3].includes(place) || film[4].includes(place);
    };
    shown = data.films.filter(fits);
    const order = form.elements.order.value;
    if (order === "name") shown.sort((a, b) => a[0].localeCompare(b[0], "en", { numeric: true }));
    else if (order === "number") shown.sort((a, b) => b[3].length + b[4].length - a[3].length - a[4].length);
    else if (order !== "excess") {
      const by = data.labels.indexOf(order);
      shown.sort((a, b) => b[5][by] - a[5][by]);
    }
    first = 0;
    draw();
  };

  const turn = (step) => {
    first += step;
    draw();
    document.getElementById("films").scrollIntoView();
  };
  form.addEventListener("input", choose);
  form.addEventListener("submit", (event) => event.preventDefault());
  buttons.back.addEventListener("click", () => turn(-SIZE));
  buttons.on.addEventListener("click", () => turn(SIZE));
  form.hidden = false;
  document.getElementById("film-pages").hidden = false;
  document.getElementById("film-rest").hidden = true;
  draw();
})();
