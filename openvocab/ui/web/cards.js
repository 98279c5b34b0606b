// Images with the scores of their labels. value: {how, cards: [{name, image, error, none, scores: [{label, score, over}]}]}
const root = element.querySelector('.ov-cards');
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
};
const card = (value) => {
  const made = make('article', 'ov-card'), body = make('div', 'body');
  if (value.image) {
    const image = make('img');
    image.src = value.image;
    image.alt = value.name;
    made.append(image);
  }
  body.append(make('h3', '', value.name));
  if (value.error) body.append(make('p', 'ov-note wrong', value.error));
  if (value.none) body.append(make('p', 'none', value.none));
  const list = make('ul');
  for (const each of value.scores || []) {
    const row = make('li', each.over ? 'over' : ''), bar = make('span', 'bar'), fill = make('span', 'fill');
    fill.style.width = 100 * each.score + '%';
    bar.append(fill);
    row.append(make('span', 'label', each.label), make('span', 'ov-number', each.score.toFixed(3)), bar);
    list.append(row);
  }
  if (list.children.length) body.append(list);
  if (value.more) body.append(make('p', 'ov-quiet more', value.more));
  made.append(body);
  return made;
};
const show = () => {
  const value = props.value;
  root.replaceChildren();
  if (!value || !value.cards.length) {
    const empty = make('div', 'ov-card ov-empty');
    empty.append(make('b', '', 'No scores yet.'), document.createElement('br'),
      'Choose one or more images, type the labels to compare, and press Score.');
    root.append(empty);
    return;
  }
  root.append(make('p', 'how', value.how));
  for (const each of value.cards) root.append(card(each));
};
watch('value', show);
show();
