// Accepted and rejected by hand. The browser keeps the marks where it lets a page of a file do so.

const MARKS = ["accepted", "rejected"];
const MARKS_KEY = `diffumask marks ${data.dataset}`;
const KEEPS_NONE = "This browser keeps no marks for the page: export them before you close it.";
const marks = new Map();
const done = []; // for each step back, the marks before it by name

function restoreMarks() {
  try {
    for (const [name, mark] of Object.entries(JSON.parse(localStorage.getItem(MARKS_KEY) ?? "{}"))) {
      if (MARKS.includes(mark)) marks.set(name, mark);
    }
  } catch {
    warn(KEEPS_NONE);
  }
}

function keepMarks() {
  try {
    localStorage.setItem(MARKS_KEY, JSON.stringify(Object.fromEntries(marks)));
  } catch {
    warn(KEEPS_NONE);
  }
}

function putMark(name, mark) {
  if (mark) marks.set(name, mark);
  else marks.delete(name);
}

// Marks of items that this page leaves out stay, so that a page of fewer items loses none.
function setMarks(changes) {
  const before = changes.map(([name]) => [name, marks.get(name)]);
  const differ = changes.some(([name, mark]) => marks.get(name) !== mark);
  for (const [name, mark] of changes) putMark(name, mark);
  if (differ) done.push(before);
  keepMarks();
}

// Returns the names whose marks are as they were before, or undefined where there is no step back.
function undoMarks() {
  const before = done.pop();
  before?.forEach(([name, mark]) => putMark(name, mark));
  keepMarks();
  return before?.map(([name]) => name);
}

function whyUnmarkable(item) {
  if (item.broken) return `${item.name} is broken and takes no mark.`;
  return item.only === "other" ? `${item.name} is not in ${data.title} and takes no mark.` : "";
}

function countMarks(mark) {
  return [...marks].filter(([name, value]) => itemOf.has(name) && value === mark).length;
}

function marksFile() {
  const sorted = Object.fromEntries([...marks].sort(([a], [b]) => (a < b ? -1 : 1)));
  const content = { format: 1, made_by: data.made_by, dataset: data.dataset, marks: sorted };
  return JSON.stringify(content, null, 1) + "\n";
}

function exportMarks() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([marksFile()], { type: "application/json" }));
  link.download = "marks.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  say(`${plural(marks.size, "mark")} exported`);
}

async function loadMarks(file) {
  let found = null;
  try {
    found = JSON.parse(await file.text());
  } catch {
    // said below
  }
  if (found?.made_by !== data.made_by || typeof found.marks !== "object") {
    warn(`Expected a file of "Export marks", got ${file.name} with something else.`);
  } else if (found.dataset !== data.dataset) {
    warn(`Expected marks of this dataset, got ${file.name} with those of another.`);
  } else {
    const changes = Object.entries(found.marks ?? {}).filter(([, mark]) => MARKS.includes(mark));
    setMarks(changes);
    warn("");
    say(`${plural(changes.length, "mark")} loaded`, true);
  }
}

function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
