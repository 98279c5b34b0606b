// Progress and errors of a batch. value: {status, total, done, ok, errors: [{name, kind, error}], seconds}
const root = element.querySelector('.ov-batch');
const text = texts.batch;
const statusText = (value) => {
  const parts = [text.done(value.done, value.total)];
  if (value.errors.length) parts.push(text.errors(value.errors.length));
  parts.push(text.seconds(value.seconds));
  return text.status[value.status === 'running' && !value.total ? 'unpacking' : value.status] + parts.join(', ');
};
const errorTable = (errors) => {
  const table = createNode('table', ''), head = createNode('tr'), body = createNode('tbody');
  table.append(createNode('caption', '', text.errorsTitle));
  for (const title of text.columns) {
    const cell = createNode('th', '', title);
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
  node.append(createNode('b', '', text.hintTitle), text.hint);
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
  bar.setAttribute('aria-label', text.progress);
  bar.setAttribute('aria-valuenow', value.done);
  bar.setAttribute('aria-valuemax', value.total);
  fill.style.width = 100 * value.done / Math.max(1, value.total) + '%';
  bar.append(fill);
  root.append(status, bar);
  if (value.errors.length) root.append(errorTable(value.errors));
};
watch('value', show);
show();
