// page -- 56 pictures: the places at once, each picture when the gateway's events say that it is
// there.
import * as site from './site.js';

const COUNT = 56;
const SEED_MAX = 4294967295;

const grid = document.getElementById('grid');
const progress = document.getElementById('progress');
let model, look, events = null, round = 0;

function firstSeed() {
    const seed = site.whole('seed', SEED_MAX - COUNT + 1);

    // Whole pages, so that visitors share what is rendered.
    return seed ?? Math.floor(site.anySeed() / COUNT) * COUNT % (SEED_MAX - 2 * COUNT);
}

function place(facts) {
    const link = site.make('a', { href: site.address('one.html', site.nameOf(facts)),
                                  'aria-label': site.altOf(facts) });

    return { facts, link, item: site.make('li', {}, link), done: false };
}

function fill(tile) {
    if (tile.done)
        return;
    tile.done = true;
    tile.link.replaceChildren(site.imageOf(tile.facts));
    tile.item.replaceChildren(tile.link);
}

// A failed place becomes a button that tries again.
function spoil(tile, words) {
    const again = site.make('button', { class: 'failed', title: words }, 'try again');

    again.setAttribute('aria-label', `${site.altOf(tile.facts)}: ${words}; try again`);
    again.addEventListener('click', () => site.run(async () => {
        await site.picture(tile.facts.url, { wait: site.sayWait });
        fill(tile);
        site.say('');
    }));
    tile.item.replaceChildren(again);
}

// Without events every picture is asked for by itself.
async function fillEach(tiles, mine) {
    for (const tile of tiles.filter((t) => !t.done)) {
        await site.picture(tile.facts.url, { wait: site.sayWait })
            .then(() => fill(tile), (error) => spoil(tile, error.message));
        if (mine !== round)
            return;
        progress.value++;
    }
    progress.hidden = true;
    site.say(`${tiles.length} pictures.`);
}

function follow(seed, tiles) {
    const mine = round;
    events = new EventSource(site.api(model.ref, 'events', { seed, n: COUNT, ...look }));
    events.addEventListener('picture', (event) => {
        fill(tiles[JSON.parse(event.data).seed - seed]);
        progress.value++;
    });
    events.addEventListener('failed', (event) => {
        const failed = JSON.parse(event.data);

        spoil(tiles[failed.seed - seed], failed.message);
    });
    events.addEventListener('done', (event) => {
        const { failed } = JSON.parse(event.data);

        events.close();
        progress.hidden = true;
        if (failed > 0)
            site.say(`${failed} of ${COUNT} could not be made.`, 'error');
        else
            site.say(`${COUNT} pictures, seeds ${seed} to ${seed + COUNT - 1}, psi ${look.psi}`);
    });
    events.onerror = () => {        // it would connect again from the start
        events.close();
        fillEach(tiles, mine);
    };
}

async function showPage(seed) {
    const { pictures } = await site.patiently(() => site.askJson(
        site.api(model.ref, 'page', { seed, n: COUNT, ...look })), { wait: site.sayWait });
    const tiles = pictures.map((p) => place(site.factsOf(p.url)));

    events?.close();                // what is left of the page before is cancelled
    round++;
    grid.replaceChildren(...tiles.map((t) => t.item));
    document.getElementById('permalink').href =
        site.address('page.html', { model: model.ref, seed, ...look });
    progress.value = 0;
    progress.hidden = false;
    site.say(`${COUNT} pictures are being made.`, 'busy');
    follow(seed, tiles);
}

document.getElementById('next').addEventListener('click', () => site.run(async () => {
    if (!model)
        return;
    site.forget();
    await showPage(firstSeed());
    scrollTo({ top: 0 });
}));
addEventListener('pagehide', () => events?.close());

site.start(async (chosen) => {
    model = chosen;
    look = site.lookOf(model);
    await showPage(firstSeed());
});
