// index -- the directory of all sites, with pictures that are the same for everybody.
import * as site from './site.js';

site.run(async () => {
    site.say('Asking which models there are.', 'busy');
    const list = await site.models({ wait: site.sayWait });
    const [model] = list;
    const random = new URL(site.api(model.name, 'random.jpg', { psi: site.PSI }), location.href);

    site.say('');
    site.introduce(model);
    document.getElementById('snippet').textContent = `<img src="${random}" alt="">`;
    for (const m of list)
        document.getElementById('models').append(site.make('li', {}, m.ref, ', ',
            `${m.arch}, ${m.width} x ${m.height} pixels${m.licence ? `, ${m.licence}` : ''}`));
    for (const thumbs of document.querySelectorAll('.thumbs'))
        for (const seed of thumbs.dataset.seeds.split(' '))
            for (const psi of (thumbs.dataset.psi ?? site.PSI).split(' ')) {
                const facts = site.factsOf(site.api(model.ref, `${seed}.jpg`, { psi }));
                const img = site.imageOf(facts);

                img.alt = '';       // the card's words say what it is
                thumbs.append(img);
            }
});
