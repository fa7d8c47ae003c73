// Elements, made of text and of other elements. Whatever comes from the gate goes through here, and
// so it is text: there is no way in for markup.

// el makes an element. An attribute "on" holds listeners by event; true is an attribute without a
// value; null, undefined and false are none. Children are nodes or text, also in arrays; null,
// undefined and false are none.
export function el(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === 'on') {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else {
      element.setAttribute(key, value === true ? '' : String(value));
    }
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

// fill puts children in place of those that an element has. What had the focus keeps it, if there is
// something of the same name again: the page renews itself under the hands of people.
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  element.replaceChildren();
  add(element, children);
  if (focused && focused !== element) {
    const name = nameOf(focused);
    [...element.querySelectorAll(focused.localName)].find((other) => nameOf(other) === name)
      ?.focus({preventScroll: true});
  }
  return element;
}

function nameOf(element) {
  return element.getAttribute('aria-label') ?? element.getAttribute('href') ?? element.textContent;
}

let last = 0;

// field is a control with its label, and a hint below if there is one.
export function field(label, control, hint) {
  control.id = `field${++last}`;
  const parts = [el('label', {for: control.id}, label), control];
  if (hint) {
    const id = `${control.id}-hint`;
    control.setAttribute('aria-describedby', id);
    parts.push(el('p', {class: 'hint', id}, hint));
  }
  return el('div', {class: 'field'}, parts);
}

// input is a control for one line of text, which the browser does not keep.
export function input(name, attributes) {
  return el('input', {
    type: 'text', name, autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', ...attributes,
  });
}

// select is a choice: pairs of a value and what it is called.
export function select(name, options, value = '') {
  return el('select', {name}, options.map(([option, label]) =>
    el('option', {value: option, selected: option === value}, label)));
}

// check is a control that is on or off, with its label.
export function check(label, name, checked) {
  return el('label', {class: 'check'}, el('input', {type: 'checkbox', name, checked}), ' ', label);
}

// values are the fields of a form that are not empty, by name, without blanks around.
export function values(form) {
  const found = {};
  for (const control of form.elements) {
    if (!control.name) continue;
    if (control.type === 'checkbox') {
      if (control.checked) found[control.name] = true;
    } else if (control.type !== 'file' && control.value.trim() !== '') {
      found[control.name] = control.value.trim();
    }
  }
  return found;
}

// pairs is a list of names with their values; those without a value are left out.
export function pairs(list) {
  return el('dl', {class: 'pairs'}, list
    .filter(([, value]) => value !== undefined && value !== null && value !== '' && value !== false)
    .map(([name, value]) => el('div', null, el('dt', null, name), el('dd', null, value))));
}
