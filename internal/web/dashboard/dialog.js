// Questions before a change, and what came of it.

import {el, fill} from './dom.js';
import {noWrite} from './api.js';

// confirm asks, and returns whether the answer was yes. Escape is no; the way back is the focus.
export function confirm({title, text, yes}) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const dialog = el('dialog', {'aria-labelledby': 'ask'},
      el('h2', {id: 'ask'}, title), el('p', null, text),
      el('p', {class: 'buttons'},
        el('button', {type: 'button', class: 'main', on: {click: () => dialog.close('yes')}}, yes),
        ' ', el('button', {type: 'button', on: {click: () => dialog.close('')}}, 'Cancel')));
    dialog.addEventListener('close', () => {
      dialog.remove();
      if (before?.isConnected) before.focus();
      resolve(dialog.returnValue === 'yes');
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

// say shows what happened, and has it read aloud; it stays until the next one or the next view.
export function say(text, level = 'ok') {
  const place = document.getElementById('said');
  fill(place, text && el('p', {class: `said ${level}`}, text, ' ',
    el('button', {type: 'button', class: 'link', on: {click: () => fill(place)}}, 'Hide')));
}

// fault shows what went wrong, with what to do.
export function fault(problem) {
  say([problem.detail ?? problem.message, problem.hint].filter(Boolean).join(' '), 'bad');
}

// writer is a button of a change: it asks, changes and says what happened. Without the scope it is
// disabled and says why.
export function writer(label, {name, ask, run}) {
  const why = noWrite();
  const button = el('button', {
    type: 'button', class: 'small', 'aria-label': name, disabled: why !== '', title: why || null,
  }, label);
  button.addEventListener('click', async () => {
    if (!await confirm(ask)) return;
    button.disabled = true;
    try {
      say(await run());
    } catch (problem) {
      fault(problem);
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

// submitter is a form of a change: like writer, with its fields.
export function submitter(form, label, {ask, run}) {
  const why = noWrite();
  const button = el('button', {type: 'submit', class: 'main', disabled: why !== ''}, label);
  form.append(el('p', {class: 'buttons'}, button), why && el('p', {class: 'hint'}, why));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (why || !await confirm(ask())) return;
    button.disabled = true;
    try {
      say(await run());
    } catch (problem) {
      fault(problem);
      if (problem.field) form.elements.namedItem(problem.field)?.focus();
    } finally {
      button.disabled = false;
    }
  });
  return form;
}
