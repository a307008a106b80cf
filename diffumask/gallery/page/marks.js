// Accepted and rejected by hand. The browser keeps the marks where it lets a page of a file do so.

const MARKS = ["accepted", "rejected"];
const MARKS_KEY = `diffumask marks ${data.dataset}`;
const marks = new Map();

function restoreMarks() {
  try {
    takeMarks(JSON.parse(localStorage.getItem(MARKS_KEY) ?? "{}"));
  } catch {
    say("This browser keeps no marks for the page: export them before you close it.");
  }
}

function keepMarks() {
  try {
    localStorage.setItem(MARKS_KEY, JSON.stringify(Object.fromEntries(marks)));
  } catch {
    say("This browser keeps no marks for the page: export them before you close it.");
  }
}

// Marks of items that this page leaves out stay, so that a page of fewer items loses none.
function takeMarks(found) {
  for (const [name, mark] of Object.entries(found)) {
    if (MARKS.includes(mark)) marks.set(name, mark);
  }
}

function toggleMark(item, mark) {
  if (marks.get(item.name) === mark) marks.delete(item.name);
  else marks.set(item.name, mark);
  keepMarks();
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
  tell(`${marks.size} marks exported`);
}

async function loadMarks(file) {
  let found = null;
  try {
    found = JSON.parse(await file.text());
  } catch {
    // said below
  }
  if (found?.made_by !== data.made_by || typeof found.marks !== "object") {
    say(`Expected a file of "Export marks", got ${file.name} with something else.`);
  } else if (found.dataset !== data.dataset) {
    say(`Expected marks of this dataset, got ${file.name} with those of another.`);
  } else {
    takeMarks(found.marks ?? {});
    keepMarks();
    tell(`${Object.keys(found.marks ?? {}).length} marks loaded`);
  }
}
