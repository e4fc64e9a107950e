// One concert's fan chart: cumulative tickets by days to the show, comparables behind it. SVG made by hand.
const SVG = "http://www.w3.org/2000/svg";
const LEFT = 56, RIGHT = 58, TOP = 18, BOTTOM = 44;
// One unit of the drawing is one pixel, so that its text is as large as the page's.
const NARROWEST = 300, WIDEST = 820;
const LETTERS = "ABCDEFGHIJ";
const whole = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const dayText = iso => { const [year, month, day] = iso.split("-"); return `${+day} ${MONTHS[month - 1]} ${year}`; };
const tickets = value => value === null || value === undefined ? "–" : whole.format(Math.round(value) + 0).replace("-", "−");

function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// A step between 1, 2 and 5 times a power of ten, so that about `count` fit.
function niceStep(range, count) {
  const rough = Math.max(range / count, 1e-9), power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map(factor => factor * power).find(step => step >= rough);
}

// Value of a stepped series (days to show descending) at a day: the last one known by then.
function valueAt(points, day) {
  let found = null;
  for (const point of points) { if (point[0] < day) break; found = point; }
  return found;
}

function pathOf(points, x, y, stepped) {
  let path = "";
  points.forEach(([day, value], k) => {
    path += k === 0 ? `M${x(day)},${y(value)}` : stepped ? `H${x(day)}V${y(value)}` : `L${x(day)},${y(value)}`;
  });
  return path;
}

// Series in the unit of the chart: tickets, or percent of each one's own total at the show.
function scaled(concert, series, compared, unit) {
  if (unit === "tickets") return {sold: series.sold, ahead: series.ahead, compared, capacity: concert.capacity};
  const share = total => value => total > 0 ? 100 * value / total : 0;
  const own = share(concert.final_p50);
  return {
    sold: series.sold.map(([day, value]) => [day, own(value)]),
    ahead: series.ahead.map(([day, ...values]) => [day, ...values.map(own)]),
    compared: compared.map(one => ({...one, sold: one.sold.map(([day, value]) => [day, share(one.final)(value)])})),
    capacity: concert.capacity === null ? null : own(concert.capacity),
  };
}

function drawChart(concert, series, compared, unit, readout, room) {
  const width = Math.min(WIDEST, Math.max(NARROWEST, Math.round(room)));
  const height = Math.round(Math.min(360, 180 + width / 4.5));
  const shown = scaled(concert, series, compared, unit);
  const suffix = unit === "tickets" ? "" : "%";
  const today = concert.days_to_show;
  const fan = shown.ahead.length && shown.sold.length
    ? [[today, ...Array(3).fill(shown.sold.at(-1)[1])], ...shown.ahead] : shown.ahead;
  const earliest = Math.max(shown.sold[0]?.[0] ?? 0, shown.ahead[0]?.[0] ?? 0, 7);
  const base = Math.max(1, ...shown.sold.map(p => p[1]), ...fan.map(p => p[3]));
  const others = Math.max(0, ...shown.compared.flatMap(one => one.sold.map(p => p[1])));
  const reachable = shown.capacity !== null && shown.capacity <= 4 * base ? shown.capacity : 0;
  const highest = Math.max(base, Math.min(others, 2 * Math.max(base, reachable)), reachable) * 1.06;
  const x = day => +(LEFT + (earliest - day) / earliest * (width - LEFT - RIGHT)).toFixed(1);
  const y = value => +(height - BOTTOM - value / highest * (height - TOP - BOTTOM)).toFixed(1);

  const svg = shape("svg", {viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", tabindex: 0});
  svg.setAttribute("aria-label", describe(concert, compared));
  const clip = `clip-${concert.index}`;
  svg.append(shape("clipPath", {id: clip}));
  svg.lastChild.append(shape("rect", {x: LEFT, y: TOP, width: width - LEFT - RIGHT, height: height - TOP - BOTTOM}));
  const step = niceStep(highest, 5);
  for (let value = 0; value <= highest; value += step) {
    svg.append(shape("line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value)}));
    svg.append(shape("text", {x: LEFT - 8, y: y(value) + 4, "text-anchor": "end"}, tickets(value) + suffix));
  }
  const dayStep = [1, 2, 7, 14, 28, 56, 91, 182, 364].find(days => earliest / days <= width / 90) ?? 364;
  for (let day = 0; day <= earliest; day += dayStep) {
    svg.append(shape("line", {class: "axis", x1: x(day), x2: x(day), y1: height - BOTTOM, y2: height - BOTTOM + 4}));
    svg.append(shape("text", {x: x(day), y: height - BOTTOM + 18, "text-anchor": "middle"}, day === 0 ? "show" : day));
  }
  svg.append(shape("text", {x: (LEFT + width - RIGHT) / 2, y: height - 6, "text-anchor": "middle"}, "days to the show"));
  svg.append(shape("line", {class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(0), y2: y(0)}));

  const plot = shape("g", {"clip-path": `url(#${clip})`});
  svg.append(plot);
  for (const {sold} of shown.compared.filter(one => one.sold.length)) {
    plot.append(shape("path", {class: "compared", d: pathOf([...sold, [0, sold.at(-1)[1]]], x, y, true)}));
  }
  if (fan.length > 1) {
    const upper = fan.map(p => [p[0], p[3]]), lower = fan.map(p => [p[0], p[1]]).reverse();
    plot.append(shape("path", {class: "fan", d: `${pathOf(upper, x, y)}${pathOf(lower, x, y).replace("M", "L")}Z`}));
    plot.append(shape("path", {class: "fan-edge", d: pathOf(upper, x, y)}));
    plot.append(shape("path", {class: "fan-edge", d: pathOf(lower, x, y)}));
    plot.append(shape("path", {class: "middle", d: pathOf(fan.map(p => [p[0], p[2]]), x, y)}));
  }
  if (shown.sold.length) plot.append(shape("path", {class: "history", d: pathOf(shown.sold, x, y, true)}));
  if (reachable) {
    svg.append(shape("line", {class: "capacity", x1: LEFT, x2: width - RIGHT, y1: y(reachable), y2: y(reachable)}));
    svg.append(shape("text", {x: LEFT + 6, y: y(reachable) - 5}, `capacity ${tickets(concert.capacity)}`));
  } else if (concert.capacity !== null) {
    svg.append(shape("text", {x: LEFT + 6, y: TOP - 4}, `capacity ${tickets(concert.capacity)}, far above this chart`));
  }
  if (today > 0 && today <= earliest) {
    svg.append(shape("line", {class: "today", x1: x(today), x2: x(today), y1: TOP, y2: height - BOTTOM}));
    const atLeft = x(today) > width - RIGHT - 60;
    svg.append(shape("text", {x: x(today) + (atLeft ? -5 : 5), y: height - BOTTOM - 6, "text-anchor": atLeft ? "end" : "start"}, "as of"));
  }
  labelEnds(svg, shown, fan, suffix, y, width - RIGHT + 6);
  addCursor(svg, concert, shown, fan, {x, earliest, suffix, readout, width, height});
  return svg;
}

// Names at the right edge, moved apart where they would overlap.
function labelEnds(svg, shown, fan, suffix, y, left) {
  const ends = shown.compared.filter(one => one.sold.length)
    .map((one, k) => ({text: LETTERS[k], at: y(one.sold.at(-1)[1]), style: ""}));
  if (fan.length) ends.push({text: tickets(fan.at(-1)[2]) + suffix, at: y(fan.at(-1)[2]), style: "strong"});
  else if (shown.sold.length) ends.push({text: tickets(shown.sold.at(-1)[1]) + suffix, at: y(shown.sold.at(-1)[1]), style: "strong"});
  let free = TOP;
  for (const end of ends.sort((one, other) => one.at - other.at)) {
    const at = Math.max(end.at, free);
    free = at + 13;
    svg.append(shape("text", {x: left, y: at + 4, class: end.style}, end.text));
  }
}

// Values under the pointer, or under the arrow keys.
function addCursor(svg, concert, shown, fan, {x, earliest, suffix, readout, width, height}) {
  const line = shape("line", {class: "cursor", y1: TOP, y2: height - BOTTOM, visibility: "hidden"});
  svg.append(line);
  let day = concert.days_to_show;
  const show = wanted => {
    day = Math.min(earliest, Math.max(0, Math.round(wanted)));
    line.setAttribute("x1", x(day)); line.setAttribute("x2", x(day));
    line.setAttribute("visibility", "visible");
    readout.textContent = tell(concert, shown, fan, day, suffix);
  };
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width * width;
    show(earliest - (at - LEFT) / (width - LEFT - RIGHT) * earliest);
  });
  svg.addEventListener("keydown", event => {
    const moves = {ArrowLeft: 1, ArrowRight: -1, PageUp: 7, PageDown: -7, Home: earliest, End: -earliest};
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(day + moves[event.key]);
  });
}

function dateBefore(concert, day) {
  const at = new Date(`${concert.show_date}T00:00:00Z`);
  at.setUTCDate(at.getUTCDate() - day);
  return at.toISOString().slice(0, 10);
}

function tell(concert, shown, fan, day, suffix) {
  const parts = [];
  const known = day >= concert.days_to_show ? valueAt(shown.sold, day) : null;
  if (known) parts.push(`sold ${tickets(known[1])}${suffix}`);
  const ahead = day < concert.days_to_show ? valueAt(fan, day) : null;
  if (ahead) parts.push(`expected ${tickets(ahead[2])}${suffix} (${tickets(ahead[1])} to ${tickets(ahead[3])}${suffix})`);
  shown.compared.forEach((one, k) => {
    const then = valueAt(one.sold, day);
    if (then) parts.push(`${LETTERS[k]} ${tickets(then[1])}${suffix}`);
  });
  return `${day} days to the show (${dayText(dateBefore(concert, day))}): ${parts.join("; ") || "nothing sold yet"}`;
}

function describe(concert, compared) {
  const expected = concert.final_p50 === null ? "" :
    ` Expected at the show: ${tickets(concert.final_p50)}, with 80% between ${tickets(concert.final_p10)} and ${tickets(concert.final_p90)}.`;
  const capacity = concert.capacity === null ? "" : ` Capacity ${tickets(concert.capacity)}.`;
  return `Cumulative tickets of ${concert.artist} in ${concert.city} by days to the show. ` +
    `${tickets(concert.sold)} sold ${concert.days_to_show} days before the show.${expected}${capacity} ` +
    `${compared.length} comparable concerts behind it. Arrow keys read the values; a table follows.`;
}
