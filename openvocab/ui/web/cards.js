// Images with their label scores. value: {scoring, cards: [{name, image, error, none, scores: [{label, score, over}]}]}
const root = element.querySelector('.ov-cards');
const card = (value) => {
  const made = createNode('article', 'ov-card'), body = createNode('div', 'body');
  if (value.image) {
    const image = createNode('img');
    image.src = value.image;
    image.alt = value.name;
    made.append(image);
  }
  body.append(createNode('h2', '', value.name));
  if (value.error) body.append(createNode('p', 'ov-note wrong', value.error));
  if (value.none) body.append(createNode('p', 'none', value.none));
  const list = createNode('ul');
  for (const each of value.scores || []) {
    const row = createNode('li', each.over ? 'over' : ''), bar = createNode('span', 'bar'), fill = createNode('span', 'fill');
    fill.style.width = 100 * each.score + '%';
    bar.append(fill);
    row.append(createNode('span', 'label', each.label), createNode('span', 'ov-number', each.score.toFixed(3)), bar);
    list.append(row);
  }
  if (list.children.length) body.append(list);
  if (value.more) body.append(createNode('p', 'ov-quiet more', value.more));
  made.append(body);
  return made;
};
const show = () => {
  const value = props.value;
  root.replaceChildren();
  if (!value || !value.cards.length) {
    const empty = createNode('div', 'ov-card ov-empty');
    empty.append(createNode('b', '', texts.noScores), document.createElement('br'), texts.noScoresHint);
    root.append(empty);
    return;
  }
  root.append(createNode('p', 'scoring', value.scoring));
  for (const each of value.cards) root.append(card(each));
};
watch('value', show);
show();
