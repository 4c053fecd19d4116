// Where a picture came from: node provenance.js 42.jpg
import { Seedpress } from "seedpress";

const [file = "42.jpg"] = process.argv.slice(2);
const sp = new Seedpress();

try {
    const { grade, rows } = await sp.provenance({ file });

    console.log(grade);
    for (const row of rows)
        console.log(`  seed ${row.seed} of ${row.modelName || row.model}, psi ${row.psi}, ` +
                    `rendered ${row.created} by ${row.worker} on ${row.device}`);
} finally {
    await sp.close();
}
