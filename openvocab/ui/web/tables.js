// Tags and detections. value: {tags: [{label, score, color}], detections: [{key, label, score, box, color}], corrections}
const root = element.querySelector('.ov-tables');
const chip = (color) => {
  const node = createNode('span', color ? 'ov-chip' : 'ov-chip hollow');
  if (color) node.style.background = color;
  node.setAttribute('aria-hidden', 'true');
  return node;
};
const createTable = (name, caption, heads) => {
  const table = createNode('table', name), head = createNode('tr'), thead = createNode('thead'), body = createNode('tbody');
  table.append(createNode('caption', '', caption));
  for (const [text, kind] of heads) {
    const cell = createNode('th', kind, text);
    cell.scope = 'col';
    head.append(cell);
  }
  thead.append(head);
  table.append(thead, body);
  return [table, body];
};
const highlight = (key) => document.dispatchEvent(new CustomEvent('ov-highlight', { detail: key }));
const tags = (value) => {
  const [table, body] = createTable('ov-tags', 'Tags', [['label', ''], ['score', 'ov-number']]);
  for (const tag of value.tags) {
    const row = createNode('tr'), name = createNode('td', 'name'), score = createNode('td', 'ov-number score');
    const inner = createNode('span', 'inner'), bar = createNode('span', 'bar');
    inner.append(chip(tag.color), createNode('span', 'label', tag.label));
    bar.style.width = 100 * tag.score + '%';
    if (tag.color) bar.style.background = tag.color;
    name.append(inner, bar);
    score.textContent = tag.score.toFixed(2);
    row.append(name, score);
    body.append(row);
  }
  return table;
};
const detections = (value) => {
  const [table, body] = createTable('ov-detections', 'Detections',
    [['label', ''], ['score', 'ov-number'], ['box', 'ov-number box'], ['', 'ov-end']]);
  for (const detection of value.detections) {
    const row = createNode('tr'), name = createNode('td', 'name'), inner = createNode('span', 'inner');
    const field = createNode('input', 'label'), deleteButton = createNode('button', 'delete', '×'), end = createNode('td', 'ov-end');
    row.dataset.key = detection.key;
    field.value = detection.label;
    field.title = detection.label;
    field.maxLength = 1000;
    field.setAttribute('aria-label', 'Label of the detection');
    field.addEventListener('change', () => {
      if (field.value.trim() && field.value !== detection.label) trigger('rename', { key: detection.key, label: field.value });
      else field.value = detection.label;
    });
    field.addEventListener('keydown', (event) => { if (event.key === 'Enter') field.blur(); });
    deleteButton.type = 'button';
    deleteButton.title = 'Delete this detection';
    deleteButton.setAttribute('aria-label', 'Delete ' + detection.label);
    deleteButton.addEventListener('click', () => trigger('remove', { key: detection.key }));
    inner.append(chip(detection.color), field);
    name.append(inner);
    end.append(deleteButton);
    row.append(name, createNode('td', 'ov-number', detection.score.toFixed(2)), createNode('td', 'ov-number box', detection.box.join(' ')), end);
    for (const over of ['mouseenter', 'focusin']) row.addEventListener(over, () => highlight(detection.key));
    for (const out of ['mouseleave', 'focusout']) row.addEventListener(out, () => highlight(null));
    body.append(row);
  }
  return table;
};
const show = () => {
  const value = props.value;
  root.replaceChildren();
  if (!value) return;
  if (value.tags.length) root.append(tags(value));
  if (value.detections.length) root.append(detections(value));
  if (value.corrections) {
    const undo = createNode('button', 'ov-undo', 'Undo ' + value.corrections + ' correction' + (value.corrections === 1 ? '' : 's'));
    undo.type = 'button';
    undo.addEventListener('click', () => trigger('restore', {}));
    root.append(undo);
  }
};
document.addEventListener('ov-highlight', (event) => {
  for (const row of root.querySelectorAll('tr[data-key]')) row.classList.toggle('on', row.dataset.key === event.detail);
});
watch('value', show);
show();
