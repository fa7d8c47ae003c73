// The page: who may see it, which view is shown, and how one gets from one to the other.

import {el, fill} from './dom.js';
import {Problem, get, session} from './api.js';
import {say} from './dialog.js';
import {signIn} from './signin.js';
import * as now from './now.js';

// Views by their hash. All but the first are loaded when they are wanted.
const views = [
  ['now', 'Now', async () => now],
  ['providers', 'Providers', () => import('./providers.js')],
  ['senders', 'Senders', () => import('./senders.js')],
  ['decisions', 'Decisions', () => import('./decisions.js')],
  ['suppression', 'Suppression', () => import('./suppression.js')],
  ['overrides', 'Overrides', () => import('./overrides.js')],
  ['configuration', 'Configuration', () => import('./configuration.js')],
];

const main = document.getElementById('main');
const nav = document.getElementById('views');
const place = document.getElementById('session');
let leave = new AbortController(); // of the view that is shown

// handed is what a view gives to the next one. It stands in no URL, which histories keep.
let handed = null;

function go(hash, what) {
  handed = what;
  if (location.hash === hash) route(true);
  else location.hash = hash;
}

// failed shows why a view cannot be shown. A token that is none leads to the first page; other problems are
// shown in place of the view.
function failed(error, signal) {
  if (signal.aborted) return;
  if (error instanceof Problem && (error.status === 401 || error.status === 403 && session.scopes === null)) {
    signOut(error);
    return;
  }
  if (!(error instanceof Problem)) console.error(error);
  fill(main, el('div', {class: 'notice bad', role: 'alert'},
    el('p', null, error.message), error.hint && el('p', null, error.hint),
    el('p', null, el('button', {type: 'button', on: {click: () => route(true)}}, 'Try again'))));
}

function signOut(problem) {
  leave.abort();
  session.end();
  nav.hidden = place.hidden = true;
  document.title = 'rcptgate';
  signIn(main, problem, (token) => {
    session.begin(token);
    start();
  });
}

function frame() {
  fill(nav, el('ul', null, views.map(([name, label]) =>
    el('li', null, el('a', {href: `#/${name}`, 'data-view': name}, label)))));
  fill(place, el('button', {type: 'button', class: 'link', on: {click: () => signOut()}}, 'Sign out'));
  nav.hidden = place.hidden = false;
}

// away is whether the gate did not answer when it was asked last.
let away = false;

// every runs fn now and then again and again, while the page is seen, until the view is left. One
// that fails is tried again; the first failure is the caller's.
async function every(seconds, signal, fn) {
  await fn();
  const again = async () => {
    if (signal.aborted) return;
    if (!document.hidden) {
      try {
        await fn();
        if (away && !signal.aborted) say('The gate answers again.');
        away = false;
      } catch (error) {
        if (error instanceof Problem && error.status === 401) return failed(error, signal);
        away = true;
        if (!signal.aborted) say([error.message, error.hint].filter(Boolean).join(' '), 'bad');
      }
    }
    setTimeout(again, 1000 * seconds);
  };
  setTimeout(again, 1000 * seconds);
}

async function route(stay) {
  if (!session.token) return signOut();
  const [, name = 'now', ...rest] = location.hash.split('/');
  const view = views.find(([known]) => known === name) ?? views[0];
  leave.abort();
  leave = new AbortController();
  const {signal} = leave;
  const args = {
    rest: rest.map(decodeURIComponent), handed, signal, go,
    every: (seconds, fn) => every(seconds, signal, fn),
  };
  handed = null;
  for (const link of nav.querySelectorAll('a')) {
    if (link.dataset.view === view[0]) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${view[1]} – rcptgate`;
  if (!stay) say('');
  fill(main, el('h1', null, view[1]), el('p', {class: 'loading'}, 'Asking the gate…'));
  try {
    const module = await view[2]();
    if (signal.aborted) return;
    const root = el('div', {class: 'view'});
    await module.show(root, args);
    if (signal.aborted) return;
    fill(main, root);
    performance.mark('shown');
    if (!stay) main.focus({preventScroll: true});
  } catch (error) {
    failed(error, signal);
  }
}

// start looks whether the token is good, and shows the view.
async function start() {
  if (!session.token) return signOut();
  frame();
  try {
    // The first answer tells what the token is good for, before a view has buttons.
    await get('/v1/status');
  } catch (error) {
    if (error.status === 401 || error.status === 403 || error.status === 429) return signOut(error);
  }
  route();
}

window.addEventListener('hashchange', () => route());
start();
