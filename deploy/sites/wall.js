// wall -- pictures without an end. Only what is near the window is in the page; what is asked for
// has stood there for a moment, and is cancelled when it scrolls away first.
import * as site from './site.js';

const TILES_MAX = 180;              // in the page at once
const FLYING_MAX = 6;               // pictures asked for at once: as a browser has connections
const DWELL_MS = 120;               // nothing is asked for while it flies past
const TILE_WISH = 112, GAP = 8;     // pixels
const HEIGHT_MAX = 8000000;         // pixels: browsers place nothing beyond some 16 M
const SEED_MAX = 4294967295;

const wall = document.getElementById('wall');
const tiles = new Map();            // by index from the wall's start
const waiting = [];                 // indexes; whoever came last goes first
let model, look, start, columns, size, rows, flying = 0, told = 0;

// ---- where tiles stand ----

function measure() {
    const width = wall.clientWidth;

    size = TILE_WISH;
    do {                            // a huge window gets larger pictures, not more
        columns = Math.max(3, Math.floor((width + GAP) / (size + GAP)));
        size += 8;
    } while (columns * (innerHeight / size + 4) > TILES_MAX);
    size = (width - GAP * (columns - 1)) / columns;
    rows = Math.min(Math.floor(HEIGHT_MAX / (size + GAP)), Math.ceil((SEED_MAX - start) / columns));
    wall.style.height = `${rows * (size + GAP)}px`;
}

function firstVisible() {
    const above = Math.max(0, scrollY - wall.offsetTop);

    return Math.floor(above / (size + GAP)) * columns;
}

function stand(tile) {
    const row = Math.floor(tile.index / columns), column = tile.index % columns;

    tile.link.style.width = `${size}px`;
    tile.link.style.transform = `translate(${column * (size + GAP)}px, ${row * (size + GAP)}px)`;
}

// ---- one tile ----

function add(index) {
    const facts = site.factsOf(site.api(model.ref, `${start + index}.jpg`, look));
    const link = site.make('a', { class: 'tile', 'aria-label': site.altOf(facts),
        href: site.address('one.html', site.nameOf(facts)) });
    const tile = { index, facts, link, stop: new AbortController() };

    tiles.set(index, tile);
    stand(tile);
    // In the order of seeds, for who goes from one to the next by keyboard or hears the page.
    const later = [...wall.children].find((other) => Number(other.dataset.index) > index);

    link.dataset.index = index;
    wall.insertBefore(link, later ?? null);
    tile.timer = setTimeout(() => {
        waiting.push(index);
        launch();
    }, DWELL_MS);
}

function remove(tile) {
    clearTimeout(tile.timer);
    tile.stop.abort(new DOMException('scrolled away', 'AbortError'));
    tile.link.remove();
    tiles.delete(tile.index);
}

function launch() {
    while (flying < FLYING_MAX && waiting.length > 0) {
        const tile = tiles.get(waiting.pop());

        if (tile) {
            flying++;
            load(tile).finally(() => {
                flying--;
                launch();
            });
        }
    }
}

async function load(tile) {
    const { signal } = tile.stop;

    try {
        await site.picture(tile.facts.url, { signal, wait: site.sayWait });
        if (!signal.aborted)
            tile.link.append(site.imageOf(tile.facts));
        site.say('');
    } catch (error) {
        if (!signal.aborted)
            site.say(`${site.capital(error.message)}.`, 'error');
    }
}

// ---- the window ----

function refresh() {
    const first = Math.max(0, firstVisible() - columns);
    const count = (Math.ceil(innerHeight / (size + GAP)) + 3) * columns;
    const last = Math.min(first + count, rows * columns, SEED_MAX - start + 1);

    for (const tile of [...tiles.values()])
        if (tile.index < first || tile.index >= last)
            remove(tile);
    // The last first: who came last goes first, and the eye begins at the top.
    for (let index = last - 1; index >= first; index--)
        if (!tiles.has(index))
            add(index);
    clearTimeout(told);
    told = setTimeout(remember, 250);
}

// The page's address says where one is: a reload, and coming back, show the same place.
function remember() {
    const here = site.address('wall.html', {
        model: model.ref, seed: start, at: firstVisible() || null, ...look });

    history.replaceState(null, '', here);
    document.getElementById('permalink').href = here;
}

function goTo(index) {
    if (index > 0)
        scrollTo(0, wall.offsetTop + Math.floor(index / columns) * (size + GAP));
    refresh();
}

function resize() {
    const at = firstVisible();

    measure();
    for (const tile of tiles.values())
        stand(tile);
    goTo(at);
}

site.start(async (chosen) => {
    model = chosen;
    look = site.lookOf(model);
    start = site.whole('seed') ?? Math.floor(site.anySeed() / 2);
    history.scrollRestoration = 'manual';
    measure();
    goTo(site.whole('at', rows * columns - 1) ?? 0);
    let asked = false;

    addEventListener('scroll', () => {
        if (!asked)
            requestAnimationFrame(() => {
                asked = false;
                refresh();
            });
        asked = true;
    }, { passive: true });
    addEventListener('resize', resize);
});
