// How the items lie on each score: all of them pale, those shown dark. Two ends choose a range, by
// the keyboard or by drawing over the bars.

const BINS = 24;
const STEPS = 100; // of the ends, from 0, and as wide as the bars
const histograms = new Map(); // of each score: its bounds and what of the page shows it

function scoreNames() {
  return [...new Set(data.items.flatMap((item) => Object.keys(item.scores)))];
}

function boundsOf(name) {
  let [low, high] = [0, 1];
  for (const { scores } of data.items) {
    if (scores[name] < low) low = Math.floor(scores[name]);
    if (scores[name] > high) high = Math.ceil(scores[name]);
  }
  return [low, high];
}

// Made anew only where there are other scores, or others of their values.
function fillHistograms() {
  for (const name of scoreNames()) {
    const [low, high] = boundsOf(name);
    const known = histograms.get(name);
    if (known && known.low === low && known.high === high) continue;
    const made = makeHistogram(name, low, high);
    if (known) known.box.replaceWith(made.box);
    else {
      byId("histograms").append(made.box);
      form.elements.sort.append(new Option(name));
    }
    histograms.set(name, made);
  }
}

function makeHistogram(name, low, high) {
  const box = byId("histogram").content.firstElementChild.cloneNode(true);
  box.dataset.score = name;
  const part = (selector) => box.querySelector(selector);
  part("legend").textContent = name;
  const [least, most] = box.querySelectorAll("input");
  const [range, all, shown] = [".range", ".all", ".shown"].map(part);
  const made = { name, low, high, box, output: part("output"), range, all, shown, least, most };
  for (const end of [least, most]) {
    end.setAttribute("aria-label", `${name} ${end.getAttribute("aria-label")}`);
    end.addEventListener("input", () => keepOrder(made, end));
  }
  letBrush(part("svg"), made);
  return made;
}

const valueAt = (made, step) => made.low + (step / STEPS) * (made.high - made.low);

function keepOrder({ least, most }, moved) {
  if (least.valueAsNumber <= most.valueAsNumber) return;
  if (moved === least) most.value = least.value;
  else least.value = most.value;
}

// The scores that have a range, with its ends.
function brushed() {
  return [...histograms.values()]
    .filter(({ least, most }) => least.valueAsNumber > 0 || most.valueAsNumber < STEPS)
    .map((made) => [made.name, valueAt(made, made.least.valueAsNumber), valueAt(made, made.most.valueAsNumber)]);
}

// A drag over the bars draws the range anew, a click takes it away.
function letBrush(chart, made) {
  let start = null;
  const stepAt = (event) => {
    const box = chart.getBoundingClientRect();
    return Math.min(Math.max(Math.round((STEPS * (event.clientX - box.left)) / box.width), 0), STEPS);
  };
  const choose = (low, high) => {
    [made.least.value, made.most.value] = [low, high];
    refilter();
  };
  chart.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    start = stepAt(event);
    chart.setPointerCapture(event.pointerId);
    choose(0, STEPS);
  });
  chart.addEventListener("pointermove", (event) => {
    if (start !== null && stepAt(event) !== start) choose(...[start, stepAt(event)].sort((a, b) => a - b));
  });
  for (const end of ["pointerup", "pointercancel"]) chart.addEventListener(end, () => (start = null));
}

function barsOf({ name, low, high }, items) {
  const bars = new Array(BINS).fill(0);
  for (const { scores } of items) {
    if (name in scores) bars[Math.min(BINS - 1, Math.floor((BINS * (scores[name] - low)) / (high - low)))]++;
  }
  return bars;
}

function pathOf(bars, peak) {
  const wide = 100 / BINS;
  return bars
    .map((count, i) => (count ? `M${i * wide} 100v${(-98 * count) / peak}h${wide * 0.86}V100z` : ""))
    .join("");
}

function showBrushes() {
  for (const made of histograms.values()) {
    const bars = barsOf(made, data.items);
    const peak = Math.max(1, ...bars);
    made.all.setAttribute("d", pathOf(bars, peak));
    made.shown.setAttribute("d", pathOf(barsOf(made, view.items), peak));
    const [least, most] = [made.least.valueAsNumber, made.most.valueAsNumber];
    const isWhole = least === 0 && most === STEPS;
    made.range.setAttribute("x", least);
    made.range.setAttribute("width", isWhole ? 0 : most - least);
    made.output.textContent = isWhole ? "" : `${valueAt(made, least).toFixed(2)} to ${valueAt(made, most).toFixed(2)}`;
  }
}
