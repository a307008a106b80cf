// While items are being made: ask the server for what is new, and leave all else as it is.

const EVERY_MS = 2000;
let answered = "";
let arrivals = 0;

function takeItems(found) {
  for (const item of found) {
    item.arrival = itemOf.get(item.name)?.arrival ?? arrivals++;
    enlarged.delete(item.name);
    for (const side of ["this", "other"]) decoded.delete(`${side} ${item.name}`);
    if (item.gone) itemOf.delete(item.name);
    else itemOf.set(item.name, item);
    const entry = [...list.children].find((one) => one.dataset.name === item.name);
    if (entry) entry.dataset.stale = "yes";
  }
  data.items = [...itemOf.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  keepingPlace(showItems);
}

async function ask() {
  const response = await fetch(`items?since=${encodeURIComponent(answered)}`);
  const answer = await response.json();
  if (answer.items.length) takeItems(answer.items);
  answered = answer.mark;
  warn(answer.error ?? "");
  const waiting = answer.waiting ? `, ${answer.waiting} to come` : "";
  byId("live").textContent = `live${waiting}`;
  return answer.waiting;
}

async function keepAsking() {
  let waiting = 0;
  try {
    waiting = await ask();
  } catch {
    byId("live").textContent = "the server has ended";
  }
  setTimeout(keepAsking, waiting ? 0 : EVERY_MS);
}

function startLive() {
  form.elements.sort.append(new Option("arrival"));
  keepAsking();
}
