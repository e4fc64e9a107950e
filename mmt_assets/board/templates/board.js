// Sorting, filters, details and the CSV. Everything on the page is text or built from text: no markup from data.
const data = JSON.parse(document.getElementById("data").textContent);
const concerts = data.concerts.map((values, index) =>
  ({index, ...Object.fromEntries(data.columns.map((name, k) => [name, values[k]]))}));
const body = document.querySelector("#board tbody");
const rows = [...body.rows];
const filters = document.getElementById("filters");
const text = concerts.map(one =>
  [one.artist, one.city, one.country, one.venue, one.concert_id].join("\n").toLocaleLowerCase());
const missing = value => value === null || value === undefined;

// Ascending unless the second entry says otherwise; what is not known comes last in both directions.
const SORTS = {
  attention: [one => one.index], show: [one => one.show_date], artist: [one => one.artist.toLocaleLowerCase()],
  sold: [one => one.sold, -1], expected: [one => one.final_p50, -1], pace: [one => one.pace_pct],
  chance: [one => one.sell_out_probability, -1],
  change: [one => missing(one.change_tickets) ? null : Math.abs(one.change_tickets), -1],
};
let order = {by: "attention", direction: 1};

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter(child => !missing(child)));
  return made;
}

function sortRows() {
  const [value] = SORTS[order.by];
  const keys = concerts.map(value);
  const sorted = [...concerts].sort((one, other) => {
    const [a, b] = [keys[one.index], keys[other.index]];
    if (missing(a) || missing(b)) return missing(a) - missing(b) || one.index - other.index;
    const compared = typeof a === "string" ? a.localeCompare(b) : a - b;
    return order.direction * compared || one.index - other.index;
  });
  const fragment = document.createDocumentFragment();
  for (const one of sorted) {
    fragment.append(rows[one.index]);
    if (details.has(one.index)) fragment.append(details.get(one.index));
  }
  body.append(fragment);
  for (const head of document.querySelectorAll("#board th[data-sort]")) {
    if (head.dataset.sort === order.by) head.setAttribute("aria-sort", order.direction > 0 ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  }
  filters.elements.sort.value = order.by;
}

function sortBy(by, direction = SORTS[by][1] ?? 1) {
  order = {by, direction};
  sortRows();
}

function isShown(one, form, words, flags) {
  return words.every(word => text[one.index].includes(word)) &&
    (!form.get("artist") || one.artist === form.get("artist")) &&
    (!form.get("city") || `${one.city}, ${one.country}` === form.get("city")) &&
    (!flags.length || flags.includes(one.flag));
}

function filterRows() {
  const form = new FormData(filters);
  const words = form.get("search").trim().toLocaleLowerCase().split(/\s+/), flags = form.getAll("flag");
  let count = 0;
  for (const one of concerts) {
    const shown = isShown(one, form, words, flags);
    rows[one.index].hidden = !shown;
    if (details.has(one.index)) details.get(one.index).hidden = !shown;
    count += shown;
  }
  document.getElementById("shown").textContent = `${count} of ${concerts.length} concerts`;
  document.getElementById("nothing").hidden = count > 0 || concerts.length === 0;
}

// Details -------------------------------------------------------------------------------------------------------
const details = new Map();
const signed = value => (value > 0 ? "+" : "") + tickets(value);
const percent = value => `${Math.round(100 * value)}%`;

function toggle(index) {
  const button = rows[index].querySelector("button");
  if (details.has(index)) {
    details.get(index).remove();
    details.delete(index);
    button.setAttribute("aria-expanded", "false");
    button.removeAttribute("aria-controls");
    return;
  }
  const row = element("tr", {class: "detail", role: "row", id: `detail-${index}`},
    element("td", {colspan: 7, role: "cell"}, detailOf(concerts[index])));
  details.set(index, row);
  rows[index].after(row);
  button.setAttribute("aria-expanded", "true");
  button.setAttribute("aria-controls", row.id);
}

function detailOf(concert) {
  const series = data.series[concert.concert_id] ?? {sold: [], ahead: []};
  const compared = concert.comparables.filter(id => id in data.comparables).map(id => ({id, ...data.comparables[id]}));
  return element("div", {class: "detail-grid"},
    figureOf(concert, series, compared),
    element("div", {}, ...facts(concert), ...change(concert), ...comparison(concert, compared), ...making(concert)));
}

function figureOf(concert, series, compared) {
  const readout = element("output", {class: "readout"});
  const unit = element("select", {"aria-label": "Unit of the chart"},
    element("option", {value: "tickets"}, "tickets"), element("option", {value: "share"}, "% of each one’s total"));
  const holder = element("div");
  const draw = () => {
    readout.textContent = "Solid: sold. Dashed: expected, with its 80% interval. " +
      (compared.length ? "Thin: comparable concerts A to " + LETTERS[compared.length - 1] + ". " : "") +
      "Point at the chart, or focus it and use the arrow keys, to read values.";
    holder.replaceChildren(drawChart(concert, series, compared, unit.value, readout, holder.clientWidth));
  };
  unit.addEventListener("change", draw);
  let drawn = 0;
  new ResizeObserver(() => {
    if (holder.clientWidth === drawn || holder.clientWidth === 0) return;
    drawn = holder.clientWidth;
    draw();
  }).observe(holder);
  return element("figure", {class: "figure"},
    element("figcaption", {}, "Net tickets by days to the show", unit), holder, readout, numbers(concert, series, compared));
}

// The chart as text: a dozen days, every series.
function numbers(concert, series, compared) {
  const first = Math.max(series.sold[0]?.[0] ?? 0, series.ahead[0]?.[0] ?? 0);
  const days = [...new Set([...Array(11).keys()].map(k => Math.round(first * (1 - k / 10))).concat(concert.days_to_show))]
    .filter(day => day >= 0).sort((one, other) => other - one);
  const head = ["Days to show", "Date", "Sold", "Expected", "Interval", ...compared.map((_, k) => LETTERS[k])];
  const lines = days.map(day => {
    const sold = day >= concert.days_to_show ? valueAt(series.sold, day) : null;
    const ahead = day < concert.days_to_show ? valueAt(series.ahead, day) : null;
    return [day, dayText(dateBefore(concert, day)), sold ? tickets(sold[1]) : "–", ahead ? tickets(ahead[2]) : "–",
      ahead ? `${tickets(ahead[1])} to ${tickets(ahead[3])}` : "–",
      ...compared.map(one => tickets(valueAt(one.sold, day)?.[1]))];
  });
  return element("details", {}, element("summary", {}, "Numbers of this chart"),
    element("div", {class: "numbers", tabindex: 0, role: "region", "aria-label": "Numbers of this chart"},
      element("table", {},
        element("thead", {}, element("tr", {}, ...head.map(name => element("th", {scope: "col"}, name)))),
        element("tbody", {}, ...lines.map(line => element("tr", {}, ...line.map(cell => element("td", {}, String(cell)))))))));
}

function list(pairs) {
  return element("dl", {}, ...pairs.filter(([, value]) => !missing(value))
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function facts(concert) {
  const interval = missing(concert.final_p50) ? null :
    `${tickets(concert.final_p50)}; with 80% between ${tickets(concert.final_p10)} and ${tickets(concert.final_p90)}`;
  const sellOut = missing(concert.sell_out_probability) ? (missing(concert.capacity) ? "capacity not known" : null) :
    percent(concert.sell_out_probability) + (concert.sell_out_date ? `, around ${dayText(concert.sell_out_date)}` : "");
  const pace = missing(concert.pace_tickets) ? null :
    `${signed(concert.pace_tickets)} tickets` + (missing(concert.pace_pct) ? "" : ` (${signed(concert.pace_pct)}%)`);
  return [element("h3", {}, "Standing"), list([
    ["Sold", `${tickets(concert.sold)} (${tickets(concert.gross_sold)} sold, ${tickets(concert.refunded)} refunded)`],
    ["Expected", interval], ["Sell-out", sellOut], ["Pace", pace],
    ["Last sale", concert.last_sale_date && dayText(concert.last_sale_date) +
      (concert.days_without_sale ? `, ${concert.days_without_sale} days before the as-of day` : "")],
    ["On sale", concert.on_sale_date &&
      `${concert.on_sale_date > concert.as_of_date ? "from" : "since"} ${dayText(concert.on_sale_date)}`],
    ["Fans here", missing(concert.demand_fans) ? null : `${tickets(concert.demand_fans)} asked for this artist`],
  ])];
}

function change(concert) {
  if (missing(concert.change_tickets)) return [];
  const line = (name, value, style = "") => element("tr", {class: style}, element("th", {scope: "row"}, name), element("td", {}, value));
  const causes = Object.entries(data.causes).filter(([column]) => !missing(concert[column]))
    .map(([column, name]) => line(name, signed(concert[column])));
  const expected = missing(concert.expected_since) ? "" : `; ${tickets(concert.expected_since)} were expected`;
  const moved = [];
  if (!missing(concert.capacity_before)) moved.push(`The capacity was ${tickets(concert.capacity_before)}.`);
  if (!missing(concert.show_date_before)) moved.push(`The show was on ${dayText(concert.show_date_before)}.`);
  return [element("h3", {}, `Since ${dayText(concert.changed_since)}`),
    element("table", {}, element("tbody", {},
      line("Expected then", tickets(concert.final_p50 - concert.change_tickets)), ...causes,
      line("Expected now", tickets(concert.final_p50), "total"))),
    element("p", {class: "hint"}, `${signed(concert.sold_since)} net tickets since then (${tickets(concert.refunded_since)} refunded)${expected}. ${moved.join(" ")}`)];
}

function comparison(concert, compared) {
  if (!compared.length) return [];
  return [element("h3", {}, "Compared with"), element("ol", {}, ...compared.map(one => {
    const then = valueAt(one.sold, concert.days_to_show)?.[1] ?? 0;
    return element("li", {}, element("bdi", {}, `${one.artist}, ${one.city}`),
      ` (${dayText(one.show_date)}): ${tickets(then)} at this point, ${tickets(one.final)} in the end`);
  }))];
}

function making(concert) {
  if (missing(concert.method)) return [];
  const link = data.dagster_url && element("a",
    {href: `${data.dagster_url}/assets/forecasts/concert_forecast?view=partitions&partition=${encodeURIComponent(concert.concert_id)}`},
    "Forecast this concert now, in Dagster");
  return [element("h3", {}, "How it was made"), list([
    ["Method", `${concert.method.replaceAll("_", " ")}: ${concert.method_reason ?? ""}`],
    ["As of", `${dayText(concert.as_of_date)}${concert.is_on_demand ? ", on demand" : ""} (${concert.origin})`],
    ["Concert", concert.concert_id], ["Run", concert.run_id],
  ]), link && element("p", {}, link)].filter(Boolean);
}

// CSV -----------------------------------------------------------------------------------------------------------
// A cell that a spreadsheet would read as a formula starts with an apostrophe (OWASP, CSV injection).
function csvCell(value) {
  if (missing(value)) return "";
  let cell = Array.isArray(value) ? value.join(" ") : String(value);
  if (typeof value !== "number" && /^[=+\-@\t\r]/.test(cell)) cell = `'${cell}`;
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

function csv() {
  const shown = [...body.rows].filter(row => row.dataset.index && !row.hidden).map(row => concerts[row.dataset.index]);
  const lines = [data.columns, ...shown.map(one => data.columns.map(name => one[name]))];
  return "\ufeff" + lines.map(line => line.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

function download() {
  const address = URL.createObjectURL(new Blob([csv()], {type: "text/csv;charset=utf-8"}));
  element("a", {href: address, download: `outlook-${data.as_of}.csv`}).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// Wiring --------------------------------------------------------------------------------------------------------
body.addEventListener("click", event => {
  const row = event.target.closest("tr[data-index]");
  if (row && !window.getSelection().toString()) toggle(Number(row.dataset.index));
});
filters.addEventListener("input", event => { if (event.target.name !== "sort") filterRows(); });
filters.addEventListener("submit", event => event.preventDefault());
filters.addEventListener("reset", () => setTimeout(() => { sortBy("attention"); filterRows(); }));
filters.elements.sort.addEventListener("change", event => sortBy(event.target.value));
for (const head of document.querySelectorAll("#board th[data-sort]")) {
  head.querySelector("button").addEventListener("click", () => {
    const by = head.dataset.sort;
    sortBy(by, by === order.by ? -order.direction : undefined);
  });
}
document.getElementById("download").addEventListener("click", download);
document.getElementById("measure")?.addEventListener("change", event => {
  for (const cell of document.querySelectorAll("#heat td")) {
    const k = Number(event.target.value), value = cell.dataset.values.split(",")[k];
    cell.className = `shade${cell.dataset.shades.split(",")[k]}`;
    cell.querySelector(".value").textContent = value === "" ? "–" : tickets(Number(value));
  }
});
// A link to one concert: #concert=ID.
function openLinked() {
  if (!location.hash.startsWith("#concert=")) return;
  const wanted = decodeURIComponent(location.hash.slice("#concert=".length));
  const found = concerts.find(one => one.concert_id === wanted);
  if (!found) return;
  filters.reset();
  if (!details.has(found.index)) toggle(found.index);
  rows[found.index].scrollIntoView({block: "start"});
  rows[found.index].querySelector("button").focus();
}
window.addEventListener("hashchange", openLinked);
openLinked();
