// The drawn image with its stages. value: {image, alt, width, height, steps, detections: [{key, x, y, w, h}]}
const root = element.querySelector('.ov-view');
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
};
const point = (key) => document.dispatchEvent(new CustomEvent('ov-point', { detail: key }));
const show = () => {
  const value = props.value || {};
  root.replaceChildren();
  if (value.steps && value.steps.length) {
    const strip = make('ol', 'ov-steps');
    for (const step of value.steps) {
      const item = make('li', step.state);
      item.append(make('span', 'dot'), make('b', '', step.name), make('span', 'time', step.time));
      strip.append(item);
    }
    root.append(strip);
  }
  const frame = make('figure', 'ov-frame ov-card');
  if (!value.image) {
    const empty = make('div', 'ov-empty');
    empty.append(make('b', '', 'No result yet.'), document.createElement('br'),
      'Choose an image, type the words to look for, and press Run. Or click an example.');
    frame.append(empty);
    root.append(frame);
    return;
  }
  const stage = make('div', 'ov-stage');
  const image = make('img');
  image.src = value.image;
  image.alt = value.alt;
  stage.style.setProperty('--ov-ratio', value.width / value.height);
  stage.append(image);
  for (const detection of value.detections) {
    const box = make('div', 'ov-box');
    box.dataset.key = detection.key;
    for (const [name, part] of [['left', detection.x], ['top', detection.y], ['width', detection.w], ['height', detection.h]])
      box.style[name] = part + '%';
    box.addEventListener('mouseenter', () => point(detection.key));
    box.addEventListener('mouseleave', () => point(null));
    stage.append(box);
  }
  frame.append(stage);
  root.append(frame);
};
document.addEventListener('ov-point', (event) => {
  for (const box of root.querySelectorAll('.ov-box')) box.classList.toggle('on', box.dataset.key === event.detail);
});
watch('value', show);
show();
