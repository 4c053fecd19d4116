// index -- the directory of all sites, with pictures that are the same for everybody.
import * as site from './site.js';

site.start(async (model, list) => {
    const look = site.lookOf(model);
    const random = new URL(site.api(model.name, 'random.jpg', look), location.href);

    document.getElementById('snippet').textContent = `<img src="${random}" alt="">`;
    for (const m of list)
        document.getElementById('models').append(site.make('li', {}, m.ref, ', ',
            `${m.arch}, ${m.width} x ${m.height} pixels${m.licence ? `, ${m.licence}` : ''}`));
    for (const thumbs of document.querySelectorAll('.thumbs'))
        for (const seed of thumbs.dataset.seeds.split(' '))
            for (const psi of (thumbs.dataset.psi ?? look.psi).split(' ')) {
                const facts = site.factsOf(site.api(model.ref, `${seed}.jpg`, { ...look, psi }));
                const img = site.imageOf(facts);

                img.alt = '';       // the card's words say what it is
                thumbs.append(img);
            }
});
