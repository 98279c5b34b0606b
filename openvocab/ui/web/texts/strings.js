// All texts of the small components and of head.js, in one place. Another language replaces this file.
const texts = {
  addFiles: 'Add files',
  batch: {
    columns: ['file', 'kind', 'error'],
    done: (done, total) => `${done} of ${total} image${total === 1 ? '' : 's'}`,
    errors: (count) => `${count} error${count === 1 ? '' : 's'}`,
    errorsTitle: 'Errors',
    hint: 'Choose images or a zip file, type labels, choose a format and press Run.',
    hintTitle: 'Many images at once. ',
    progress: 'processed images',
    seconds: (value) => value.toFixed(1) + ' s',
    status: { running: '', unpacking: 'Unpacking … ', stopped: 'Stopped. ', done: 'Done. ' },
  },
  example: (name, labels) => `Example ${name} with ${labels}`,
  noScores: 'No scores yet.',
  noScoresHint: 'Choose one or more images, type the labels to compare, and press Score.',
};
