// How far a batch is. value: {status, total, done, ok, errors: [{name, kind, error}], seconds}
const root = element.querySelector('.ov-batch');
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
};
const plural = (count, word) => count + ' ' + word + (count === 1 ? '' : 's');
const line = (value) => {
  const parts = [value.done + ' of ' + plural(value.total, 'image')];
  if (value.errors.length) parts.push(plural(value.errors.length, 'error'));
  parts.push(value.seconds.toFixed(1) + ' s');
  const first = { running: value.total ? '' : 'Unpacking … ', stopped: 'Stopped. ', done: 'Done. ' }[value.status];
  return first + parts.join(', ');
};
const table = (errors) => {
  const made = make('table', ''), head = make('tr'), body = make('tbody');
  made.append(make('caption', '', 'Without an answer'));
  for (const text of ['file', 'kind', 'why']) {
    const cell = make('th', '', text);
    cell.scope = 'col';
    head.append(cell);
  }
  for (const error of errors) {
    const row = make('tr');
    row.append(make('td', 'file', error.name), make('td', 'kind', error.kind), make('td', '', error.error));
    body.append(row);
  }
  const top = make('thead');
  top.append(head);
  made.append(top, body);
  return made;
};
const empty = () => {
  const made = make('div', 'ov-card ov-empty');
  made.append(make('b', '', 'Many images at once. '),
    'Choose images or a zip file, type what to look for, pick a format and press Run.');
  return made;
};
const show = () => {
  const value = props.value;
  root.replaceChildren();
  if (!value) {
    root.append(empty());
    return;
  }
  const said = make('p', 'said', line(value)), bar = make('div', 'bar'), fill = make('span', 'fill');
  said.setAttribute('role', 'status');
  bar.setAttribute('role', 'progressbar');
  bar.setAttribute('aria-label', 'images done');
  bar.setAttribute('aria-valuenow', value.done);
  bar.setAttribute('aria-valuemax', value.total);
  fill.style.width = 100 * value.done / Math.max(1, value.total) + '%';
  bar.append(fill);
  root.append(said, bar);
  if (value.errors.length) root.append(table(value.errors));
};
watch('value', show);
show();
