// The annotated image and the stages of the run. value: {image, alt, width, height, steps, detections: [{key, x, y, w, h}]}
const root = element.querySelector('.ov-view');
const highlight = (key) => document.dispatchEvent(new CustomEvent('ov-highlight', { detail: key }));
const show = () => {
  const value = props.value || {};
  root.replaceChildren();
  if (value.steps && value.steps.length) {
    const strip = createNode('ol', 'ov-steps');
    for (const step of value.steps) {
      const item = createNode('li', step.state);
      item.append(createNode('span', 'dot'), createNode('b', '', step.name), createNode('span', 'time', step.time));
      strip.append(item);
    }
    root.append(strip);
  }
  const frame = createNode('figure', 'ov-frame ov-card');
  if (!value.image) {
    const empty = createNode('div', 'ov-empty');
    empty.append(createNode('b', '', 'No result yet.'), document.createElement('br'),
      'Choose an image, type the words to look for, and press Run. Or click an example.');
    frame.append(empty);
    root.append(frame);
    return;
  }
  const stage = createNode('div', 'ov-stage');
  const image = createNode('img');
  image.src = value.image;
  image.alt = value.alt;
  stage.style.setProperty('--ov-ratio', value.width / value.height);
  stage.append(image);
  for (const detection of value.detections) {
    const box = createNode('div', 'ov-box');
    box.dataset.key = detection.key;
    for (const [name, part] of [['left', detection.x], ['top', detection.y], ['width', detection.w], ['height', detection.h]])
      box.style[name] = part + '%';
    box.addEventListener('mouseenter', () => highlight(detection.key));
    box.addEventListener('mouseleave', () => highlight(null));
    stage.append(box);
  }
  frame.append(stage);
  root.append(frame);
};
document.addEventListener('ov-highlight', (event) => {
  for (const box of root.querySelectorAll('.ov-box')) box.classList.toggle('on', box.dataset.key === event.detail);
});
watch('value', show);
show();
