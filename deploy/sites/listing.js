// listing -- a place to let: one request for all its pictures, and words from a small grammar. One
// seed decides everything, so that a link shows the same listing again.
import * as site from './site.js';

const ROOMS = 5, PEOPLE = 6;        // the host, three who live there, two who were guests
const DEADLINE_MS = 10000;
const ROOM_NAME = /room|house|home|flat|kitchen|church|interior|building/i;

const article = document.getElementById('listing');

// ---- words ----

// "{x}" is one of x's choices.
const GRAMMAR = {
    title: ['{adjective} {home} {beside}', 'The {adjective} {home} {beside}',
            '{Adjective} {home}, {beside}'],
    adjective: ['quiet', 'sunny', 'crooked', 'unhurried', 'tall', 'blue-shuttered',
                'half-forgotten', 'warm', 'slightly too large', 'well-loved'],
    Adjective: ['Quiet', 'Sunny', 'Crooked', 'Unhurried', 'Warm', 'Well-loved'],
    home: ['house', 'loft', 'farmhouse', 'mill', 'attic', 'cottage', 'townhouse', 'boathouse'],
    beside: ['by the canal', 'above the bakery', 'under the walnut tree', 'behind the old station',
             'near the lighthouse', 'between two gardens', 'where the tram turns'],
    town: ['{townStart}{townEnd}'],
    townStart: ['Wester', 'Alder', 'Miller', 'Grau', 'Linden', 'Nieder', 'Ox', 'Fern', 'Salt'],
    townEnd: ['haven', 'bruck', 'mouth', 'stead', 'au', 'wick', 'feld', 'ness', 'dorf', 'mere'],
    opening: ['A {adjective} place with {feature} and {feature2}.',
              'You will find {feature} here, and {feature2}.',
              'People come for {feature}. They stay for {feature2}.'],
    feature: ['tall windows', 'a stove that knows its work', 'a staircase with opinions',
              'morning light in every room', 'a long oak table', 'floors that creak in tune'],
    feature2: ['a garden nobody has finished', 'a shelf of unread novels', 'a bath with a view',
               'bread at seven', 'a cat who decides', 'a balcony for two chairs'],
    middle: ['The {nearby} is {minutes} minutes on foot, {minutes} if you stop to look at things.',
             'It is {minutes} minutes to the {nearby}, and nobody has ever hurried there.'],
    nearby: ['market', 'harbour', 'night train', 'swimming lake', 'cinema with one screen'],
    minutes: ['four', 'seven', 'nine', 'twelve', 'fifteen', 'twenty'],
    close: ['Please leave your shoes by the door and your plans outside.',
            'There is one rule: whoever cooks does not wash up.',
            'The key is under the second flowerpot. The first one is for show.'],
    name: ['Alex', 'Robin', 'Kim', 'Noa', 'Mika', 'Luca', 'Charlie', 'Toni', 'Sam', 'Eli', 'Jo',
           'Remy', 'Sascha', 'Nika', 'Jona', 'Andrea'],
    job: ['tunes pianos', 'repairs clocks', 'teaches swimming', 'draws maps', 'bakes before dawn',
          'restores bicycles', 'translates poems', 'counts birds for the city',
          'builds stage sets'],
    habit: ['sings in the kitchen', 'is never seen before nine', 'grows tomatoes on the roof',
            'always knows the weather', 'keeps the good coffee hidden', 'wins at cards'],
    review: ['We came for a night and stayed {minutes} days. {praise}',
             '{praise} I would come back for {feature2} alone.', '{praise}'],
    praise: ['I slept like a stone.', 'It does not exist, and still I miss it.',
             'Exactly like the pictures.', 'The host thought of everything.',
             'Even the rain sounds better here.'],
};
const COMFORTS = ['Wi-Fi, mostly', 'Washing machine', 'Garden', 'Piano', 'Workplace', 'Wood stove',
                  'Bicycles', 'Cot', 'Balcony', 'Bath', 'Dogs are welcome', 'Library'];

// Numbers in [0, 1) that a seed decides (mulberry32).
function dice(seed) {
    let state = seed >>> 0;

    return () => {
        state = (state + 0x6d2b79f5) >>> 0;
        let x = Math.imul(state ^ (state >>> 15), state | 1);

        x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
        return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
    };
}

function pick(roll, list) {
    return list[Math.floor(roll() * list.length)];
}

// count different ones of list.
function deal(roll, list, count) {
    const left = [...list];

    return Array.from({ length: count }, () =>
        left.splice(Math.floor(roll() * left.length), 1)[0]);
}

function speak(roll, rule) {
    return pick(roll, GRAMMAR[rule]).replace(/\{(\w+)\}/g, (_, name) => speak(roll, name));
}

function compose(seed) {
    const roll = dice(seed);
    const between = (low, high) => low + Math.floor(roll() * (high - low + 1));
    const names = deal(roll, GRAMMAR.name, PEOPLE);
    const jobs = deal(roll, GRAMMAR.job, PEOPLE);
    const habits = deal(roll, GRAMMAR.habit, PEOPLE);

    return {
        title: site.capital(speak(roll, 'title')),
        town: speak(roll, 'town'),
        text: ['opening', 'middle', 'close'].map((rule) => speak(roll, rule)),
        price: between(38, 190), guests: between(2, 6), beds: between(1, 4),
        metres: between(34, 160),
        rating: (4 + roll()).toFixed(2), reviews: between(7, 240), since: between(2009, 2025),
        comforts: deal(roll, COMFORTS, 6),
        people: names.map((name, i) => ({ name, job: jobs[i], habit: habits[i] })),
        words: deal(roll, GRAMMAR.review, 2).map((text) =>
            text.replace(/\{(\w+)\}/g, (_, name) => speak(roll, name))),
    };
}

// ---- the page of it ----

const { make } = site;

function person(img, ...lines) {
    return make('div', { class: 'person' }, img, make('div', {}, ...lines));
}

function facts(l) {
    return `${l.guests} guests, ${l.beds} ${l.beds === 1 ? 'bed' : 'beds'}, ${l.metres} m²`;
}

function boxOf(l) {
    return make('aside', { class: 'box', 'aria-label': 'Price' },
                make('p', {}, make('span', { class: 'price' }, `€ ${l.price}`), ' a night'),
                make('p', {}, facts(l)),
                make('p', { class: 'lead' }, 'It cannot be booked: it does not exist.'));
}

// Who lives here, the host first.
function facesOf(l, imgs) {
    return make('div', { class: 'faces' }, ...imgs.map((img, i) => {
        const { name, job, habit } = l.people[i];
        const words = i === 0 ? `Your host since ${l.since}. ${name} ${job} and ${habit}.`
                              : `${site.capital(job)} and ${habit}.`;

        return make('figure', {}, img, make('figcaption', {}, make('strong', {}, name), words));
    }));
}

// rooms, people: one <img> each, empty until its picture is there.
function draw(l, rooms, people) {
    const faces = facesOf(l, people.slice(0, 4));
    const story = make('div', {},
        ...l.text.map((text) => make('p', {}, text)),
        make('h2', {}, 'What there is'),
        make('ul', { class: 'ticks' }, ...l.comforts.map((c) => make('li', {}, c))),
        make('h2', {}, 'What guests say'),
        ...l.words.map((words, i) => person(people[4 + i], make('h3', {}, l.people[4 + i].name),
                                            make('p', {}, words))));

    if (rooms.length > 0)
        story.append(make('h2', {}, 'Who lives here'), faces);
    article.replaceChildren(
        make('h1', {}, l.title),
        make('p', { class: 'lead' },
             `${l.town}. ★ ${l.rating}, ${l.reviews} reviews. ${facts(l)}.`),
        rooms.length > 0 ? make('div', { class: 'gallery' }, ...rooms) : faces,
        make('div', { class: 'listing' }, story, boxOf(l)));
    document.title = `${l.title}: a home that does not exist`;
}

// ---- its pictures ----

function itemOf(model, count, key) {
    return [model.ref, count, site.classOf(model, key)].filter((part) => part !== null).join(':');
}

// In the order of items, so that an answer's items fall into their places.
function itemsOf(rooms, people) {
    if (rooms?.ref === people.ref)   // two parts would show the same pictures
        return itemOf(people, ROOMS + PEOPLE, 'people');
    const items = [itemOf(people, PEOPLE, 'people')];

    return (rooms ? [itemOf(rooms, ROOMS, 'rooms'), ...items] : items).join();
}

async function open(seed, rooms, people) {
    const imgs = Array.from({ length: (rooms ? ROOMS : 0) + PEOPLE },
                            () => make('img', { alt: '' }));
    const link = { seed, rooms: rooms?.ref, people: people.ref, psi: site.psiOf(),
                   'rooms-class': rooms && site.classOf(rooms, 'rooms'),
                   'people-class': site.classOf(people, 'people') };

    draw(compose(seed), imgs.slice(0, -PEOPLE), imgs.slice(-PEOPLE));
    document.getElementById('permalink').href = site.address('listing.html', link);
    site.say('Its pictures are being made.', 'busy');
    const answer = await site.patiently(() => site.askJson(`/v1/composite?${new URLSearchParams({
        items: itemsOf(rooms, people), seed, deadline_ms: DEADLINE_MS, psi: site.psiOf() })}`),
                                        { wait: site.sayWait });

    answer.items.forEach((item, i) => {
        if (item.ok)
            site.run(() => site.show(imgs[i], site.factsOf(item.url)));
        else
            imgs[i].alt = item.message;
    });
    if (answer.failed > 0)
        site.say(`${answer.failed} pictures could not be made. Reload to try again.`, 'error');
    else
        site.say(`Listing ${seed}: one request, ${answer.ready} pictures.`);
}

site.start(async (_, list) => {
    const likely = list.find((m) => site.isServed(m) && ROOM_NAME.test(m.name));
    const rooms = site.query.has('rooms') ? site.modelOf(list, 'rooms') : likely ?? null;
    const people = site.query.has('people') ? site.modelOf(list, 'people')
                                            : list.find((m) => m !== rooms) ?? list[0];
    const button = document.getElementById('another');

    site.introduce(people);
    for (const [model, key] of [[rooms, 'rooms'], [people, 'people']])
        if (model) {
            site.offerModels(list, model, key);
            site.offerClasses(model, key);
        }
    button.addEventListener('click', () => site.run(async () => {
        site.forget();
        await open(site.anySeed(), rooms, people);
    }));
    await open(site.whole('seed') ?? site.anySeed(), rooms, people);
});
