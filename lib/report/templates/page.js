"use strict";
(function () {
  const field = document.getElementById("q"), form = document.getElementById("search");
  const at = document.getElementById("at"), again = document.getElementById("refresh");
  const every = 1000 * at.dataset.every;
  if (field) {
    const all = (which) => Array.from(document.querySelectorAll(which));
    const text = (part) => part ? part.textContent.toLowerCase() : "";
    const groups = all(".group"), rows = all(".group tbody tr");
    const texts = rows.map((row) => text(row) + text(row.closest(".group").querySelector("b")));
    // What is not OK, and the incidents, are those of the rows that are shown.
    const links = rows.map((row) => row.querySelector("a").href);
    const others = all("[aria-labelledby=trouble] li, .incidents > li");
    const sections = all("[aria-labelledby=trouble], [aria-labelledby=incidents]")
      .filter((one) => one.querySelector("li"));
    const open = groups.map((group) => group.open);
    const heads = groups.map((group) => group.querySelector("summary b").nextSibling);
    const said = heads.map((head) => head.textContent);
    const counted = (those) => {
      const bad = those.filter((row) => "fuwr".includes(row.className)).length;
      return ": " + those.length + (those[1] ? " jobs" : " job") + (bad ? `, ${bad} not OK` : "");
    };
    const filter = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, place) => {
        row.hidden = !words.every((word) => texts[place].includes(word));
        count += !row.hidden;
      });
      const shown = new Set(links.filter((link, place) => !rows[place].hidden));
      others.forEach((one) => {
        const link = one.querySelector("h3 a, p a");
        one.hidden = words.length > 0 && !(link && shown.has(link.href));
      });
      sections.forEach((one) => {
        one.hidden = !one.querySelector(".cards > li:not([hidden]), .incidents > li:not([hidden])");
      });
      groups.forEach((group, place) => {
        const some = [...group.querySelectorAll("tbody tr:not([hidden])")];
        group.hidden = !some.length;
        heads[place].textContent = words.length ? counted(some) : said[place];
        group.open = words.length ? true : open[place];
      });
      all("#none").forEach((one) => { one.hidden = count > 0; });
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
