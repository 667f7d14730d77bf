"use strict";
(function () {
  const field = document.getElementById("q"), form = document.getElementById("search");
  const at = document.getElementById("at"), again = document.getElementById("refresh");
  const every = 1000 * at.dataset.every;
  if (field) {
    const rows = Array.from(document.querySelectorAll(".group tbody tr"));
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const groups = Array.from(document.querySelectorAll(".group"));
    const open = groups.map((group) => group.open);
    const filter = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, place) => {
        row.hidden = !words.every((word) => texts[place].includes(word));
        count += !row.hidden;
      });
      groups.forEach((group, place) => {
        const some = group.querySelector("tbody tr:not([hidden])");
        group.hidden = !some;
        group.open = words.length ? true : open[place];
      });
      document.getElementById("found").textContent = words.length ? count + " of " + rows.length : "";
    };
    if (form.hidden) {
      form.hidden = false;
      form.addEventListener("submit", (event) => event.preventDefault());
    }
    field.addEventListener("input", filter);
  }
  document.getElementById("again").hidden = false;
  setInterval(() => {
    // What somebody is writing is not to be lost.
    const fields = Array.from(document.querySelectorAll("#q, [name=why], select"));
    const idle = fields.every((one) => one !== document.activeElement && (one.localName === "select" || !one.value));
    if (again.checked && idle && !document.hidden) location.reload();
  }, every);
  const old = () => {
    const minutes = Math.round((Date.now() / 1000 - at.dataset.at) / 60);
    if (minutes * 60000 > 3 * every) {
      document.getElementById("old").textContent = "It is " + minutes + " minutes old.";
    }
  };
  old();
  setInterval(old, 60000);
})();
