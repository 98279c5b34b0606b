// One line of text. value: {text, wrong}
const root = element.querySelector('.ov-note');
root.setAttribute('role', 'status');
const show = () => {
  const value = props.value || {};
  root.textContent = value.text || '';
  root.classList.toggle('wrong', Boolean(value.wrong));
};
watch('value', show);
show();
