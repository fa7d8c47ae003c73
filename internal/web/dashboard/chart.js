// Lines over time, drawn by uPlot (a classic script: the global uPlot). What is drawn is also said:
// in words for the pointer's place, and as a table.

import {el, fill} from './dom.js';
import {minute} from './format.js';

const height = 170;

// chart makes one. series are {label, key, colour} with a colour of the style sheet by its name;
// format writes a value. set takes the points, with the time as t.
export function chart({title, series, format}) {
  const canvas = el('div', {class: 'canvas', role: 'img'});
  const readout = el('p', {class: 'readout'});
  const rows = el('div');
  const details = el('details', null, el('summary', null, 'As a table'), rows);
  const element = el('figure', {class: 'chart'}, el('figcaption', null, title), readout, canvas, details);
  let plot = null;
  let points = [];

  const colours = () => getComputedStyle(document.documentElement);
  const at = (index) => {
    const point = points[index] ?? points.at(-1);
    fill(readout, point ? minute(point.t) : '', series.map((s) => el('span', null,
      el('span', {class: `key ${s.colour}`, 'aria-hidden': 'true'}), ' ', s.label, ' ',
      el('strong', null, point ? format(point[s.key]) : '–'))));
  };

  function draw() {
    plot?.destroy();
    plot = null;
    if (!canvas.clientWidth || points.length < 2) return;
    const style = colours();
    const axis = {
      stroke: style.getPropertyValue('--muted'), font: '12px system-ui, sans-serif',
      grid: {stroke: style.getPropertyValue('--line'), width: 1}, ticks: {show: false},
    };
    plot = new uPlot({
      width: canvas.clientWidth, height, legend: {show: false}, cursor: {y: false, points: {size: 6}},
      scales: {y: {range: (_, low, high) => [0, Math.max(high * 1.1, 1)]}},
      axes: [
        {...axis, space: 70, size: 28, incrs: [60, 300, 600, 1800, 3600, 7200, 14_400], values: [
          [60, '{HH}:{mm}', null, null, null, null, null, null, 0],
        ]},
        {...axis, size: 54, values: (_, ticks) => ticks.map(format)},
      ],
      series: [{}, ...series.map((s) => ({
        label: s.label, stroke: style.getPropertyValue(`--${s.colour}`), width: 1.5, points: {show: false},
      }))],
      hooks: {setCursor: [(u) => at(u.cursor.idx)]},
    }, data(), canvas);
  }

  const data = () => [points.map((p) => new Date(p.t).getTime() / 1000),
    ...series.map((s) => points.map((p) => Number.isFinite(p[s.key]) ? p[s.key] : null))];

  const fit = () => {
    if (!plot) draw();
    else if (canvas.clientWidth && canvas.clientWidth !== plot.width) plot.setSize({width: canvas.clientWidth, height});
  };

  function tabulate() {
    if (!details.open) return;
    const cells = (p) => series.map((s) => el('td', {class: 'num'}, format(p[s.key])));
    fill(rows, el('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `${title}: the last hour`},
      el('table', {class: 'plain'}, el('caption', null, `${title}: the last hour`),
        el('thead', null, el('tr', null, el('th', {scope: 'col'}, 'Minute'),
          series.map((s) => el('th', {scope: 'col', class: 'num'}, s.label)))),
        el('tbody', null, points.slice(-60).reverse().map((p) =>
          el('tr', null, el('th', {scope: 'row'}, minute(p.t)), cells(p)))))));
  }
  details.addEventListener('toggle', tabulate);

  return {
    element,
    // follow keeps the picture as wide as its place and in the colours of the page, until signal.
    follow(signal) {
      const sizes = new ResizeObserver(fit);
      sizes.observe(canvas);
      matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw, {signal});
      signal.addEventListener('abort', () => {
        sizes.disconnect();
        plot?.destroy();
      });
    },
    set(list) {
      points = list;
      canvas.setAttribute('aria-label', `${title}; from ${minute(list[0]?.t)} to ${minute(list.at(-1)?.t)}. The numbers are in the table below.`);
      canvas.classList.toggle('bare', list.length < 2);
      if (plot && list.length >= 2) plot.setData(data());
      else draw();
      at(-1);
      tabulate();
    },
  };
}
