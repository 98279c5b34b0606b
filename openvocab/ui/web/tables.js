// Tags and detections. value: {tags: [{label, score, color}], detections: [{key, label, score, box, color}], corrected, boxes}
const root = element.querySelector('.ov-tables');
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
};
const chip = (color) => {
  const made = make('span', color ? 'ov-chip' : 'ov-chip hollow');
  if (color) made.style.background = color;
  made.setAttribute('aria-hidden', 'true');
  return made;
};
const table = (name, caption, heads) => {
  const made = make('table', name), head = make('tr'), thead = make('thead'), body = make('tbody');
  made.append(make('caption', '', caption));
  for (const [text, kind] of heads) {
    const cell = make('th', kind, text);
    cell.scope = 'col';
    head.append(cell);
  }
  thead.append(head);
  made.append(thead, body);
  return [made, body];
};
const point = (key) => document.dispatchEvent(new CustomEvent('ov-point', { detail: key }));
const tags = (value) => {
  const [made, body] = table('ov-tags', 'Tags', [['label', ''], ['score', 'ov-number']]);
  for (const tag of value.tags) {
    const row = make('tr'), name = make('td', 'name'), score = make('td', 'ov-number score');
    const inner = make('span', 'inner'), bar = make('span', 'bar');
    inner.append(chip(tag.color), make('span', 'label', tag.label));
    bar.style.width = 100 * tag.score + '%';
    if (tag.color) bar.style.background = tag.color;
    name.append(inner, bar);
    score.textContent = tag.score.toFixed(2);
    row.append(name, score);
    body.append(row);
  }
  return made;
};
const detections = (value) => {
  const [made, body] = table('ov-detections', 'Detections',
    [['label', ''], ['score', 'ov-number'], ['box', 'ov-number box'], ['', 'ov-end']]);
  for (const detection of value.detections) {
    const row = make('tr'), name = make('td', 'name'), inner = make('span', 'inner');
    const field = make('input', 'label'), away = make('button', 'away', '×'), end = make('td', 'ov-end');
    row.dataset.key = detection.key;
    field.value = detection.label;
    field.title = detection.label;
    field.maxLength = 1000;
    field.setAttribute('aria-label', 'Label of the detection; type to correct it');
    field.addEventListener('change', () => {
      if (field.value.trim() && field.value !== detection.label) trigger('rename', { key: detection.key, label: field.value });
      else field.value = detection.label;
    });
    field.addEventListener('keydown', (event) => { if (event.key === 'Enter') field.blur(); });
    away.type = 'button';
    away.title = 'Take this detection out';
    away.setAttribute('aria-label', 'Take out ' + detection.label);
    away.addEventListener('click', () => trigger('remove', { key: detection.key }));
    inner.append(chip(detection.color), field);
    name.append(inner);
    end.append(away);
    row.append(name, make('td', 'ov-number', detection.score.toFixed(2)), make('td', 'ov-number box', detection.box.join(' ')), end);
    for (const over of ['mouseenter', 'focusin']) row.addEventListener(over, () => point(detection.key));
    for (const out of ['mouseleave', 'focusout']) row.addEventListener(out, () => point(null));
    body.append(row);
  }
  return made;
};
const show = () => {
  const value = props.value;
  root.replaceChildren();
  if (!value) return;
  if (value.tags.length) root.append(tags(value));
  if (value.detections.length) root.append(detections(value));
  if (value.corrected) {
    const undo = make('button', 'ov-undo', 'Undo ' + value.corrected + ' correction' + (value.corrected === 1 ? '' : 's'));
    undo.type = 'button';
    undo.addEventListener('click', () => trigger('restore', {}));
    root.append(undo);
  }
};
document.addEventListener('ov-point', (event) => {
  for (const row of root.querySelectorAll('tr[data-key]')) row.classList.toggle('on', row.dataset.key === event.detail);
});
watch('value', show);
show();
