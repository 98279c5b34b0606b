// Clickable example images. value: [{name, image, labels}]
const root = element.querySelector('.ov-examples');
const show = () => {
  root.replaceChildren();
  (props.value || []).forEach((example, index) => {
    const button = document.createElement('button'), image = document.createElement('img');
    button.type = 'button';
    button.title = example.name + ': ' + example.labels;
    button.setAttribute('aria-label', texts.example(example.name, example.labels));
    image.src = example.image;
    image.alt = '';
    button.append(image);
    button.addEventListener('click', () => trigger('pick', { index }));
    root.append(button);
  });
};
watch('value', show);
show();
