// Which items are shown, and in what order.

function wishes() {
  const typed = Object.fromEntries(new FormData(form));
  return { ...typed, low: parseFloat(typed.low ?? 0), high: parseFloat(typed.high ?? 1) };
}

function isWanted(item, wish) {
  const is = (value, wanted) => !wanted || (value ?? "none") === wanted;
  const score = item.scores[wish.score];
  // An empty bound is none; both are NaN then, of which no comparison holds.
  const inRange = !wish.score || (score !== undefined && !(score < wish.low) && !(score > wish.high));
  const text = `${item.name} ${item.prompt}`.toLowerCase();
  return (
    text.includes(wish.words.trim().toLowerCase()) &&
    (!wish.class || item.classes.includes(wish.class)) &&
    is(item.verdict, wish.verdict) &&
    is(marks.get(item.name), wish.mark) &&
    inRange
  );
}

function sortValue(item, key) {
  if (key === "name") return item.name;
  if (key === "class") return item.classes.join(" ");
  if (key === "verdict") return item.verdict ?? undefined;
  if (key === "mark") return marks.get(item.name);
  return item.scores[key];
}

// Items without the value come last in either order; equal ones stay in the order of the dataset.
function selectItems() {
  const wish = wishes();
  const direction = wish.order === "down" ? -1 : 1;
  const keyed = data.items
    .filter((item) => isWanted(item, wish))
    .map((item) => ({ item, value: sortValue(item, wish.sort) }));
  keyed.sort((a, b) => {
    if (a.value === undefined || b.value === undefined) {
      return (a.value === undefined) - (b.value === undefined);
    }
    return direction * ((a.value > b.value) - (a.value < b.value));
  });
  return keyed.map(({ item }) => item);
}
