// Tables: with a caption, cells that know their column, and words where there are no rows.

import {el, fill} from './dom.js';

// table makes one. columns are {head, cell(row), num, wide, address}; empty is what stands there without
// rows, and what to do. It returns the element, with methods to set and to add rows.
export function table({caption, columns, empty, most = Infinity}) {
  const body = el('tbody', {role: 'rowgroup'});
  const head = el('tr', {role: 'row'}, columns.map((column) =>
    el('th', {scope: 'col', role: 'columnheader', class: column.num ? 'num' : null}, column.head)));
  const none = el('p', {class: 'empty'}, empty);
  // The words of the caption are before the table, so that they do not scroll with it.
  const element = el('div', {class: 'table'},
    el('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption},
      el('table', {role: 'table'},
        el('caption', null, caption), el('thead', {role: 'rowgroup'}, head), body)),
    none);
  const rowOf = (row) => el('tr', {role: 'row'}, columns.map((column) => {
    const attributes = {'data-head': column.head, role: 'cell'};
    const names = [column.num && 'num', (column.wide || column.address) && 'wide', column.address && 'address'].filter(Boolean).join(' ');
    if (names) attributes.class = names;
    return el('td', attributes, column.cell(row));
  }));
  const look = () => { none.hidden = body.rows.length > 0; };
  look();
  return {
    element,
    set(rows) {
      fill(body, rows.map(rowOf));
      look();
    },
    // prepend puts rows, the newest first, on top.
    prepend(rows) {
      body.prepend(...rows.map(rowOf));
      while (body.rows.length > most) body.lastElementChild.remove();
      look();
    },
    // empty changes the words for no rows.
    say(text) { fill(none, text); },
    get length() { return body.rows.length; },
  };
}
