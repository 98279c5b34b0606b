// Progress and errors of a batch. value: {status, total, done, ok, errors: [{name, kind, error}], seconds}
const root = element.querySelector('.ov-batch');
const plural = (count, word) => count + ' ' + word + (count === 1 ? '' : 's');
const statusText = (value) => {
  const parts = [value.done + ' of ' + plural(value.total, 'image')];
  if (value.errors.length) parts.push(plural(value.errors.length, 'error'));
  parts.push(value.seconds.toFixed(1) + ' s');
  const prefix = { running: value.total ? '' : 'Unpacking … ', stopped: 'Stopped. ', done: 'Done. ' }[value.status];
  return prefix + parts.join(', ');
};
const errorTable = (errors) => {
  const table = createNode('table', ''), head = createNode('tr'), body = createNode('tbody');
  table.append(createNode('caption', '', 'Errors'));
  for (const text of ['file', 'kind', 'error']) {
    const cell = createNode('th', '', text);
    cell.scope = 'col';
    head.append(cell);
  }
  for (const error of errors) {
    const row = createNode('tr');
    row.append(createNode('td', 'file', error.name), createNode('td', 'kind', error.kind), createNode('td', '', error.error));
    body.append(row);
  }
  const top = createNode('thead');
  top.append(head);
  table.append(top, body);
  return table;
};
const empty = () => {
  const node = createNode('div', 'ov-card ov-empty');
  node.append(createNode('b', '', 'Many images at once. '),
    'Choose images or a zip file, type labels, choose a format and press Run.');
  return node;
};
const show = () => {
  const value = props.value;
  root.replaceChildren();
  if (!value) {
    root.append(empty());
    return;
  }
  const status = createNode('p', 'status', statusText(value)), bar = createNode('div', 'bar'), fill = createNode('span', 'fill');
  status.setAttribute('role', 'status');
  bar.setAttribute('role', 'progressbar');
  bar.setAttribute('aria-label', 'processed images');
  bar.setAttribute('aria-valuenow', value.done);
  bar.setAttribute('aria-valuemax', value.total);
  fill.style.width = 100 * value.done / Math.max(1, value.total) + '%';
  bar.append(fill);
  root.append(status, bar);
  if (value.errors.length) root.append(errorTable(value.errors));
};
watch('value', show);
show();
