// Configuration: what is in force, with what is not the default.

import {el, fill, check} from './dom.js';
import {get} from './api.js';
import {since} from './format.js';

export async function show(root, {signal}) {
  const config = await get('/v1/config', signal);
  const changed = new Set(config.changed ?? []);
  const text = el('pre', {class: 'toml', tabindex: '0', 'aria-label': 'The configuration in force'});
  const only = check('Only what is not the default', 'only', false);
  const draw = () => fill(text, listing(config.toml, changed, only.firstElementChild.checked));
  only.addEventListener('change', draw);
  draw();
  fill(root, el('h1', null, 'Configuration in force'),
    el('p', {class: 'about'}, `Read from ${config.file}, ${since(config.loaded)}. Secrets are masked. `,
      changed.size ? `${changed.size} keys are not the default; they stand out below.` : 'Everything is the default.'),
    el('p', {class: 'about'}, 'It is changed in the file: edit it, run rcptgate check-config, and reload the gate.'),
    el('p', null, only), text);
}

// listing is the lines of the configuration; those of keys that were changed stand out, or stand
// alone under their tables.
function listing(toml, changed, only) {
  const shown = [];
  let table = '';
  let head = null; // of a table, until it has a line
  let keep = false; // the lines that follow belong to a key that was changed
  for (const line of toml.split('\n')) {
    const name = /^\s*\[+\s*([^\]]+?)\s*\]+/.exec(line);
    const key = /^\s*("[^"]*"|[\w-]+)\s*=/.exec(line);
    if (name) {
      table = name[1];
      keep = mine(changed, table);
      head = line;
      if (!only || keep) {
        shown.push(el('span', {class: 'head'}, `${shown.length ? '\n' : ''}${line}\n`));
        head = null;
      }
      continue;
    }
    if (key) keep = mine(changed, table ? `${table}.${key[1]}` : key[1]) || mine(changed, table);
    if (only && (!keep || line.trim() === '')) continue;
    if (head !== null && only) shown.push(el('span', {class: 'head'}, `${shown.length ? '\n' : ''}${head}\n`));
    head = null;
    if (!only && line.trim() === '' ) continue;
    shown.push(keep ? el('strong', null, `${line}\n`) : `${line}\n`);
  }
  return shown.length ? shown : 'Everything is the default.';
}

function mine(changed, key) {
  return key !== '' && changed.has(key);
}
