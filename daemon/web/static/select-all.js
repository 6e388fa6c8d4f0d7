// A check box that checks all boxes that its `data-all` selects.

for (const all of document.querySelectorAll("[data-all]")) {
  const boxes = [...document.querySelectorAll(all.dataset.all)];
  if (!boxes.length) continue;
  all.closest("label").hidden = false;
  all.addEventListener("change", () => boxes.forEach((box) => { box.checked = all.checked; }));
  const follow = () => {
    const checked = boxes.filter((box) => box.checked).length;
    all.checked = checked === boxes.length;
    all.indeterminate = checked > 0 && checked < boxes.length;
  };
  boxes.forEach((box) => box.addEventListener("change", follow));
  follow();
}
